// What the publisher could do better, and what is converted on the way.

import { h, icon, reconcile } from './dom.js';
import * as format from './format.js';

/** The notes of a stream as the API tells about it: warnings first. */
export function notesOf(stream) {
  const advised = new Set((stream.warnings ?? []).map((w) => w.message));
  return [
    ...(stream.warnings ?? []).map((w) => ({ key: `w-${w.code}-${w.message}`, warning: true, text: w.message })),
    ...(stream.derived ?? []).map((d) => ({
      key: `d-${d.what}`,
      text: `Converted: ${d.what}${d.users > 0 ? `, for ${format.count(d.users, 'consumer')}` : ''}`,
      advice: d.advice && ![...advised].some((message) => message.includes(d.advice)) ? `To avoid it: ${d.advice}.` : '',
    })),
  ];
}

export function showNotes(list, notes) {
  // The key holds the whole text: a changed note is a new one.
  reconcile(list, notes, (n) => `${n.key}|${n.text}|${n.advice ?? ''}`, (n) => h(n.warning ? 'li.warning' : 'li', {}, icon(n.warning ? 'warn' : 'convert'), h('p', {}, n.text, n.advice ? h('span.advice', {}, ` ${n.advice}`) : null)), () => {});
}
