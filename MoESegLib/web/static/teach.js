// Teaching an expert: what it learns from, how it goes, and what to do with it. Clicking goes on meanwhile.

import { close, folderList, show } from './dialogs.js';
import { curve } from './curve.js';
import { get, on, post, tell } from './link.js';
import { element } from './panel.js';

const PROMPTS = { box: 'A box', click: 'One click', auto: 'Without a prompt' };
const WORSE = 0.005; // Dice that is no difference
let parts = null; // of the open dialog
let state = null;
let problem = '';

const status = element('button', { id: 'teach-status', hidden: true, title: 'Show how far it is', onclick: openTeaching });
document.querySelector('footer .spacer').before(status);
document.getElementById('save').after(element('button', { id: 'teach', title: 'Teach an expert from finished segments', onclick: openTeaching }, 'Teach …'));

export async function openTeaching() {
  problem = '';
  build();
  fill(await get('/teach'));
}

function build() {
  const ticks = () => element('ul', { class: 'ticks' });
  parts = {
    sources: ticks(), structures: ticks(), list: element('div', { hidden: true, class: 'wide' }),
    name: element('input', { id: 'expert-name', placeholder: 'For example: liver-mine', autocomplete: 'off', oninput: settings }),
    minutes: element('input', { id: 'expert-minutes', type: 'number', min: 1, max: 240, step: 1, onchange: settings }),
    from: element('select', { class: 'grow', id: 'expert-from', onchange: settings }),
    automatic: element('input', { type: 'checkbox', id: 'expert-automatic', onchange: settings }),
    reason: element('p', { class: 'problem wide', id: 'teach-reason' }),
    bar: element('progress', { max: 1 }), text: element('span', { class: 'quiet', id: 'teach-text' }), chart: element('div'), result: element('div', { id: 'teach-result' }),
    remember: element('button', { id: 'remember', title: 'Keep what is accepted on this image, so that it can be learned from when another one is open', onclick: () => act({ do: 'remember' }) }, 'Remember this image'),
    folder: element('button', { id: 'teach-folder', onclick: browse }, 'Folder …'),
    start: element('button', { class: 'primary', id: 'start-teaching', onclick: start }, 'Teach'),
    cancel: element('button', { id: 'cancel-teaching', onclick: () => act({ do: 'cancel' }) }, 'Cancel teaching'),
    keep: element('button', { class: 'primary', id: 'keep-expert', title: 'Install it; SegMoTE on LiteMedSAM uses it at once', onclick: keep }, 'Keep'),
    discard: element('button', { id: 'discard-expert', onclick: discard }, 'Discard'),
    file: element('a', { href: '/teach/expert', download: '' }, element('button', {}, 'Save as file')),
  };
  parts.running = element('div', { class: 'wide' }, parts.bar, parts.text);
  const form = element('div', { class: 'teach' },
    element('p', { class: 'quiet wide' }, 'An expert learns from segments that you accepted, on this computer, while you go on. The base model stays as it is.'),
    element('div', {}, element('h4', {}, 'Learn from'), parts.sources, element('div', { class: 'row' }, parts.remember, parts.folder)),
    element('div', {}, element('h4', {}, 'Structures'), parts.structures,
      element('label', { class: 'row', title: 'For one structure: find all of it on a slice without click or box' }, parts.automatic, 'Also without a prompt')),
    parts.list,
    element('div', { class: 'row wide' }, element('label', {}, 'Name', parts.name), element('label', {}, 'At most', parts.minutes, 'minutes'),
      element('label', { class: 'grow' }, 'Continue from', parts.from)),
    parts.reason, parts.running, element('div', { class: 'wide' }, parts.chart, parts.result));
  show('Teach an expert', form, element('div', { class: 'buttons' }, element('button', { onclick: close }, 'Close'), parts.cancel, parts.discard, parts.file, parts.keep, parts.start));
  document.getElementById('dialog').addEventListener('close', () => { parts = null; }, { once: true });
}

async function act(message) {
  const answer = await post('/teach', message);
  problem = answer.ok ? '' : answer.message;
  if (answer.ok) fill(answer); else if (parts) refresh();
}

function settings() {
  const off = (list) => [...list.querySelectorAll('input:not(:checked)')].map((box) => box.value);
  return act({
    do: 'set', name: parts.name.value, minutes: Number(parts.minutes.value) || 8, startFrom: parts.from.value, automatic: parts.automatic.checked,
    leftOut: off(parts.sources), notTaught: off(parts.structures),
  });
}

async function start() {
  await settings();
  await act({ do: 'start' });
}

async function keep() {
  const { name } = state.result;
  await act({ do: 'keep' });
  if (!problem) tell('done', `The expert ${name} is installed, and SegMoTE on LiteMedSAM is chosen.`);
}

// What was learned takes minutes, so it is asked once more.
async function discard() {
  if (parts.discard.dataset.sure) { await act({ do: 'discard' }); tell('done', ''); return; }
  parts.discard.dataset.sure = 'yes';
  parts.discard.textContent = 'Discard for good?';
}

function browse() {
  folderList(parts.list, { folder: (path) => { parts.list.hidden = true; return act({ do: 'folder', path }); } });
}

function tick(value, text, isOn, ...more) {
  return element('li', {}, element('label', { title: text }, element('input', { type: 'checkbox', value, checked: isOn, disabled: state.running, onchange: settings }), text), ...more);
}

function fill(found) {
  if (!found.sources) return; // refused; the message was shown
  state = found;
  showStatus();
  if (!parts) return;
  const kinds = { open: 'open now', remembered: 'remembered', folder: '' };
  const sources = state.sources.map((source) => {
    const forget = source.kind === 'open' || state.running ? [] : [element('button', { class: 'mini', title: 'Leave this out for good', 'aria-label': 'Forget', onclick: () => act({ do: 'forget', key: source.key }) }, '✕')];
    const kept = source.kind === 'open' && source.remembered ? `${kinds.open}, remembered` : kinds[source.kind];
    const what = [kept, source.structures.join(', ')].filter(Boolean).join(': ');
    return tick(source.key, `${source.text.split(' / ')[0]}${source.kind === 'folder' ? '' : ` (${what})`}`, source.on, ...forget);
  });
  if (!sources.length) sources.push(element('li', { class: 'empty' }, 'Nothing yet. Segment a target and press Accept and lock (A); or choose a folder of finished cases.'));
  parts.sources.replaceChildren(...sources);
  const structures = state.structures.map((one) => tick(one.name, `${one.name}: ${one.images} image${one.images === 1 ? '' : 's'}, ${one.patients} patient${one.patients === 1 ? '' : 's'}`, one.on));
  parts.structures.replaceChildren(...structures);
  parts.from.replaceChildren(element('option', { value: '' }, 'Nothing (start anew)'), ...state.starts.map((one) => element('option', { value: one.name }, `${one.name}: ${one.title}`)));
  parts.from.value = state.startFrom;
  const fields = [[parts.name, state.settings.name], [parts.minutes, state.settings.minutes]];
  for (const [field, value] of fields) if (document.activeElement !== field) field.value = value; // not while it is typed into
  parts.automatic.checked = state.settings.automatic;
  refresh();
}

// What follows from the state: cheap, also called while it learns.
function refresh() {
  const waits = state.result !== null, busy = state.running;
  for (const one of [parts.name, parts.minutes, parts.from]) one.disabled = busy || waits;
  const accepted = state.sources.some((source) => source.kind === 'open');
  parts.remember.disabled = busy || waits || !accepted;
  parts.folder.disabled = busy || !state.folders;
  parts.folder.title = state.folders ? 'Images with finished segmentations beside them' : 'Start MoESeg with --allow FOLDER to learn from a folder.';
  const one = state.structures.filter((structure) => structure.on).length === 1;
  parts.automatic.disabled = busy || waits || !one;
  parts.start.hidden = busy || waits;
  parts.start.disabled = Boolean(state.why);
  parts.start.textContent = state.interrupted ? 'Go on' : 'Teach';
  parts.cancel.hidden = !busy;
  if (!waits) { delete parts.discard.dataset.sure; parts.discard.textContent = 'Discard'; }
  parts.keep.hidden = parts.discard.hidden = parts.file.hidden = !waits || busy;
  parts.reason.textContent = busy || waits ? problem : problem || state.problem || state.why;
  parts.running.hidden = !busy && !state.looking;
  if (state.fraction > 0) parts.bar.value = state.fraction; else parts.bar.removeAttribute('value');
  const left = state.secondsLeft;
  parts.text.textContent = `${state.text}${busy && left ? `, at most ${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')} left` : ''}`;
  parts.chart.replaceChildren(...(state.curve.length && (busy || waits) ? [curve(state.curve, state.base)] : []));
  parts.result.replaceChildren(...(waits ? reached(state.result) : []));
}

function reached({ name, patients, rows }) {
  const dice = (value) => (value === null ? '–' : value.toFixed(2));
  const worse = rows.filter((row) => (row.before ?? 0) > row.dice + WORSE);
  const lines = rows.map((row) => element('tr', {}, element('td', {}, PROMPTS[row.prompt] ?? row.prompt), element('td', {}, dice(row.before)),
    element('td', { class: worse.includes(row) ? 'worse' : row.before !== null && row.dice > row.before + WORSE ? 'better' : '' }, dice(row.dice))));
  const advice = worse.length ? 'Where it does worse than before, give it more time or more patients.'
    : patients < 3 ? 'That is a weak test: try it on more patients before you rely on it.' : '';
  return [
    element('p', {}, element('b', {}, `${name} is ready. `), `Dice on ${patients} patient${patients === 1 ? '' : 's'} that it did not learn from (1 is perfect):`),
    element('table', {}, element('tr', {}, element('th', {}, 'Prompt'), element('th', {}, 'Before'), element('th', {}, 'With the expert')), ...lines),
    element('p', { class: 'quiet' }, advice),
  ];
}

function showStatus() {
  const waits = state.waits || state.result;
  status.hidden = !state.running && !waits;
  status.textContent = state.running ? `Teaching ${state.name}: ${Math.round(100 * state.fraction)} %` : `${state.name} has learned: look`;
}

on('teach', async (news) => {
  const isOld = state?.changes !== news.changes;
  state = { ...(state ?? {}), ...news };
  showStatus();
  if (!parts || !state.sources) return;
  if (isOld) fill(await get('/teach')); else refresh();
});
