// The little of SDP that an ICE restart over HTTP needs (RFC 9725 section 4.3.3, RFC 8840).

const lines = (sdp) => sdp.split(/\r\n|\r|\n/).filter(Boolean);
const value = (all, name) => all.find((line) => line.startsWith(`a=${name}:`))?.slice(name.length + 3);

/** The credentials, `a=mid`, `m=` line and candidates of the first (with BUNDLE: the only) transport. */
export function iceOf(sdp) {
  const all = lines(sdp);
  return {
    ufrag: value(all, 'ice-ufrag'),
    pwd: value(all, 'ice-pwd'),
    media: all.find((line) => line.startsWith('m=')),
    mid: value(all, 'mid'),
    candidates: all.filter((line) => line.startsWith('a=candidate:')),
    ended: all.includes('a=end-of-candidates'),
  };
}

/** The body of a PATCH that asks for an ICE restart with the local description's new credentials. */
export function restartFragment(localSdp) {
  const { ufrag, pwd, media, mid, candidates, ended } = iceOf(localSdp);
  const out = [`a=ice-ufrag:${ufrag}`, `a=ice-pwd:${pwd}`, media, `a=mid:${mid}`, ...new Set(candidates)];
  if (ended) out.push('a=end-of-candidates');
  return `${out.join('\r\n')}\r\n`;
}

/** The server's description with the credentials and candidates of its answer to such a PATCH. */
export function withIce(remoteSdp, fragment) {
  const ice = iceOf(fragment);
  if (!ice.ufrag || !ice.pwd) throw new Error('the answer to the ICE restart has no credentials');
  const out = [];
  let tagged = false; // candidates belong to the first section only
  for (const line of lines(remoteSdp)) {
    if (line.startsWith('a=candidate:') || line === 'a=end-of-candidates') continue;
    if (line.startsWith('a=ice-ufrag:')) out.push(`a=ice-ufrag:${ice.ufrag}`);
    else if (line.startsWith('a=ice-pwd:')) out.push(`a=ice-pwd:${ice.pwd}`);
    else out.push(line);
    if (line.startsWith('a=mid:') && !tagged) {
      tagged = true;
      out.push(...ice.candidates, ...(ice.ended ? ['a=end-of-candidates'] : []));
    }
  }
  return `${out.join('\r\n')}\r\n`;
}
