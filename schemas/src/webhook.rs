//! The backend's webhook.
