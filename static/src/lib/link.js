// The Link header (RFC 8288), for the ICE servers of WHIP and WHEP (RFC 9725 section 4.6).

/** `[{url, params}]`; what can't be understood is left out. Parameter names are in lower case. */
export function parseLinks(header) {
  const links = [];
  const text = header ?? '';
  let at = 0;
  while (at < text.length) {
    const open = text.indexOf('<', at);
    const close = text.indexOf('>', open + 1);
    if (open < 0 || close < 0) break;
    const params = {};
    at = close + 1;
    // `; name` , `; name=token`, `; name="quoted \" text"`
    const param = /\s*;\s*([^\s=;,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?/y;
    for (;;) {
      param.lastIndex = at;
      const found = param.exec(text);
      if (!found) break;
      at = param.lastIndex;
      const name = found[1].toLowerCase();
      params[name] ??= found[2]?.replace(/\\(.)/g, '$1') ?? found[3] ?? '';
    }
    links.push({ url: text.slice(open + 1, close).trim(), params });
    const comma = text.indexOf(',', at);
    if (comma < 0) break;
    at = comma + 1;
  }
  return links;
}

/** The ICE servers of a WHIP or WHEP answer, as RTCPeerConnection takes them. */
export function iceServers(header) {
  return parseLinks(header)
    .filter(({ url, params }) => params.rel?.split(/\s+/).includes('ice-server') && /^(stun|turn)s?:/.test(url))
    .map(({ url, params }) => {
      const server = { urls: url };
      if (params.username !== undefined) server.username = params.username;
      if (params.credential !== undefined) server.credential = params.credential;
      return server;
    });
}
