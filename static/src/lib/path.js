// What the page's own address says.

/** `/live/cam1/` → `live/cam1`; `/live/cam1/publish` → `live/cam1`. */
export function streamPath(pathname) {
  return decodeURIComponent(pathname.replace(/^\/+/, '').replace(/(^|\/)(publish)?\/*$/, ''));
}

/** `/vod/<id>/` → `<id>`. */
export function recordingId(pathname) {
  return decodeURIComponent(pathname.split('/')[2] ?? '');
}

/** `url` with `?token=…`, if there is a token. */
export function withToken(url, token) {
  return token ? `${url}${url.includes('?') ? '&' : '?'}token=${encodeURIComponent(token)}` : url;
}

/** The token or key that the page was opened with. */
export function shownToken(search) {
  const query = new URLSearchParams(search);
  return query.get('token') || query.get('key') || null;
}
