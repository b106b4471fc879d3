// Notices that the visitor sees another page without the browser loading one.

declare global {
  interface Window {
    navigation?: EventTarget;
  }
}

/// `view` is called for each new address; what follows a # is none. The Navigation API tells; older browsers need a
/// gentle hand on two methods.
export const watchPages = (view: () => void): void => {
  const address = () => location.href.split('#')[0], moved = () => {
    if (last != (last = address())) view();
  };
  let last = address();
  if (window.navigation) window.navigation.addEventListener('currententrychange', moved);
  else {
    (['pushState', 'replaceState'] as const).forEach((name) => {
      const native = history[name];
      history[name] = (...state) => {
        native.apply(history, state);
        moved();
      };
    });
    addEventListener('popstate', moved);
  }
};
