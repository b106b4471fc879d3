//! How Meta wants each field written before it is hashed.

/// x
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Country([u8; 2]);
impl Country {
    /// x
    pub fn parse(_: &str) -> Option<Self> { None }
    /// x
    pub fn code(&self) -> &str { std::str::from_utf8(&self.0).expect("letters") }
}
/// x
pub fn email(_: &str) -> Option<String> { None }
/// x
pub fn phone(_: &str, _: Option<Country>) -> Option<String> { None }
/// x
pub fn name(_: &str) -> Option<String> { None }
/// x
pub fn city(_: &str) -> Option<String> { None }
/// x
pub fn state(_: &str) -> Option<String> { None }
/// x
pub fn zip(_: &str, _: Option<Country>) -> Option<String> { None }
/// x
pub fn date_of_birth(_: &str) -> Option<String> { None }
/// x
pub fn gender(_: &str) -> Option<String> { None }
/// x
pub fn external_id(_: &str) -> Option<String> { None }
