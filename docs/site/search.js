// Searches PAGES, which index.js has: [title, address, text, page] of each heading.
'use strict';

const shade = document.getElementById('shade');
const system = window.matchMedia('(prefers-color-scheme: dark)');
let chosen = null;
try { chosen = localStorage.getItem('shade'); } catch { /* a file's page */ }
const dark = () => chosen ? chosen === 'dark' : system.matches;
const paint = () => document.documentElement.classList.toggle('dark', dark());
shade.addEventListener('click', () => {
  chosen = dark() ? 'light' : 'dark';
  try { localStorage.setItem('shade', chosen); } catch { /* not kept */ }
  paint();
});
system.addEventListener('change', paint);
paint();

// The list of pages is open where it has a column of its own.
document.querySelector('nav details').open =
  !window.matchMedia('(max-width: 50rem)').matches;

const field = document.getElementById('search');
const found = document.getElementById('found');

function score([title, , text], words) {
  let sum = 0;
  const head = title.toLowerCase(), body = text.toLowerCase();
  for (const word of words) {
    if (head === word) sum += 100;
    else if (head.includes(word)) sum += 20;
    else if (body.includes(word)) sum += 1;
    else return 0;
  }
  return sum;
}

function search() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  found.replaceChildren();
  found.hidden = words.length === 0;
  const hits = PAGES.map((page) => [score(page, words), page])
    .filter(([sum]) => sum > 0).sort((a, b) => b[0] - a[0]).slice(0, 20);
  for (const [, [title, address, text, page]] of hits) {
    const at = Math.max(0, text.toLowerCase().indexOf(words[0]) - 40);
    const link = document.createElement('a');
    const small = document.createElement('small');
    const where = document.createElement('span');
    link.href = address;
    link.textContent = title;
    small.textContent = text.slice(at, at + 140);
    where.textContent = page === title ? '' : ` · ${page}`;
    link.append(where, small);
    found.append(link);
  }
  if (words.length > 0 && hits.length === 0) found.textContent = 'Nothing.';
}
field.addEventListener('input', search);
found.addEventListener('click', () => { found.hidden = true; });
const asked = new URLSearchParams(location.search).get('q');
if (asked) { field.value = asked; search(); }
