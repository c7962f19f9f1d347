// What the page's own address says.

/** headend's root: the scripts lie in `static/` below it, whatever folder a proxy puts before that. */
export const ROOT = new URL('../', import.meta.url).pathname;

/** `/live/cam1/` → `live/cam1`; `/live/cam1/publish` → `live/cam1`. */
export function streamPath(pathname, root = ROOT) {
  return decodeURIComponent(below(pathname, root).replace(/^\/+/, '').replace(/(^|\/)(publish)?\/*$/, ''));
}

/** `/vod/<id>/` → `<id>`. */
export function recordingId(pathname, root = ROOT) {
  return decodeURIComponent(below(pathname, root).split('/')[1] ?? '');
}

function below(pathname, root) {
  return pathname.startsWith(root) ? pathname.slice(root.length) : pathname.replace(/^\/+/, '');
}

/** `url` with `?token=…`, if there is a token (as `shownToken` gives it). */
export function withToken(url, token) {
  return token ? `${url}${url.includes('?') ? '&' : '?'}token=${token}` : url;
}

/** The token or key that the page was opened with, as it was written: the server knows what it may mean. */
export function shownToken(search) {
  const shown = search.replace(/^\?/, '').split('&').find((pair) => /^(token|key)=./.test(pair));
  return shown ? shown.slice(shown.indexOf('=') + 1) : null;
}

/** A shown token as a person would write it. */
export function readToken(shown) {
  try {
    return decodeURIComponent(shown);
  } catch {
    return shown;
  }
}
