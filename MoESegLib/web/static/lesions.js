// The table of lesions, and the dialog that looks for those of a tumor type.

import { close, folderList, show } from './dialogs.js';
import { get, on, post, send, store, tell } from './link.js';
import { element } from './panel.js';

const parts = {};
let table = null;
let chosen = null; // segment and name of the selected row
let seen = '';

function build() {
  const button = (name, text, title, act, more = {}) => { parts[name] = element('button', { title, onclick: act, ...more }, text); return parts[name]; };
  const check = (name, text, title, act) => {
    parts[name] = element('input', { type: 'checkbox', onchange: () => act(parts[name].checked) });
    parts[`${name}Label`] = element('span', {}, text);
    return element('label', { title }, parts[name], parts[`${name}Label`]);
  };
  parts.body = element('tbody', {});
  parts.sure = element('th', { title: 'How sure the search was: the highest probability of its voxels' }, 'Sure');
  parts.scroll = element('div', { class: 'scroll', hidden: true }, element('table', {},
    element('thead', {}, element('tr', {}, element('th', {}, 'Lesion'), element('th', { title: 'Volume in milliliters' }, 'mL'),
      element('th', { title: 'Longest diameter in one axial slice, in millimeters' }, 'Long mm'),
      element('th', { title: 'Longest line at right angles to it, in the same slice, in millimeters' }, 'Short mm'),
      parts.sure)), parts.body));
  parts.hint = element('p', { class: 'hint quiet' });
  parts.csv = element('a', { href: '/lesions.csv', download: '' }, element('button', { title: 'Download the table as comma-separated values' }, 'CSV'));
  parts.details = element('details', { id: 'lesions', ontoggle: () => { if (parts.details.open) update(true); else act({ do: 'every_click', on: false }); } },
    element('summary', {}, element('h2', {}, 'Lesions')),
    element('div', { class: 'row' }, button('find', 'Find lesions …', 'Look for all lesions of a tumor type', findLesions, { id: 'find-lesions' }), parts.csv),
    check('everyClick', 'Every click is a new lesion', 'With the point tool (P): each click makes a numbered segment of its own.', (value) => act({ do: 'every_click', on: value })),
    check('pieces', '', 'List what does not touch as lesions of their own', (value) => act({ do: 'pieces', segment: store.state.selected, on: value })),
    parts.scroll, parts.hint,
    element('div', { class: 'row' },
      button('refine', 'Refine', '', () => act({ do: 'refine', ...chosen }), { id: 'refine-lesion' }),
      button('separate', 'Separate', 'Give every lesion a segment of its own', () => act({ do: 'separate' }), { id: 'separate-lesions' }),
      button('remove', 'Remove', 'Erase this lesion (Undo brings it back)', () => act({ do: 'remove', ...chosen }), { id: 'remove-lesion' })));
  document.getElementById('answer-section').after(element('section', {}, parts.details));
}

async function act(message) {
  if (store.state?.case == null) return;
  if (table && message.do === 'every_click') table.everyClick = message.on; // shown at once
  if (table && message.do === 'pieces') table.pieces[message.segment] = message.on;
  const result = await post('/lesions', message);
  if (result.message) tell(result.ok ? 'done' : 'message', result.message);
  update(true);
}

// Measuring costs a moment for a large organ, so it is done when the table is open and nothing runs.
async function update(anew = false) {
  const { state } = store;
  if (!parts.details.open || !state || state.case === null) return;
  refreshButtons();
  if (state.busy) return;
  const now = JSON.stringify([state.case, state.model, state.selected, state.segments.map((one) => [one.id, one.name, one.stamp, one.locked])]);
  if (now === seen && !anew) return;
  seen = now;
  const found = await get('/lesions');
  if (!found.rows) return;
  table = found;
  if (!table.rows.some(isChosen)) { // a lesion that got a segment of its own keeps its name
    const same = table.rows.find((lesion) => lesion.name === chosen?.name);
    chosen = same ? { segment: same.segment, name: same.name } : null;
  }
  parts.sure.hidden = table.rows.every((lesion) => lesion.certainty === null);
  parts.body.replaceChildren(...table.rows.map(row));
  refreshButtons();
}

const isChosen = (lesion) => chosen !== null && lesion.segment === chosen.segment && lesion.name === chosen.name;

function row(lesion) {
  const cells = [lesion.name, lesion.milliliters.toFixed(lesion.milliliters < 100 ? 2 : 0), lesion.long.toFixed(1), lesion.short.toFixed(1)];
  if (!parts.sure.hidden) cells.push(lesion.certainty === null ? '' : `${lesion.certainty} %`);
  return element('tr', {
    'aria-selected': String(isChosen(lesion)), tabindex: 0, title: lesion.name,
    onclick: () => go(lesion), onkeydown: (event) => { if (event.key === 'Enter') go(lesion); },
  }, ...cells.map((text) => element('td', {}, text)));
}

function go(lesion) {
  chosen = { segment: lesion.segment, name: lesion.name };
  for (const [number, one] of [...parts.body.children].entries()) one.setAttribute('aria-selected', String(isChosen(table.rows[number])));
  if (lesion.ijk) tell('cross', { plane: '', ijk: lesion.ijk });
  send({ do: 'select_segment', id: lesion.segment });
  refreshButtons();
}

function refreshButtons() {
  const { state } = store, rows = table?.rows ?? [];
  const busy = state.busy ? 'Wait for the answer, or cancel it.' : '';
  const none = chosen ? '' : 'Select a lesion in the table first.';
  const set = (name, reason, tip) => { parts[name].disabled = Boolean(reason); parts[name].title = reason || tip; };
  set('find', busy, 'Look for all lesions of a tumor type');
  set('refine', none || table?.missing || busy, `Correct this lesion with clicks of ${table?.refiner}, in a segment of its own`);
  set('remove', none || busy, 'Erase this lesion (Undo brings it back)');
  set('separate', (rows.some((lesion) => lesion.isPart) ? '' : 'No lesions share a segment.') || busy, 'Give every lesion a segment of its own');
  const selected = state.segments.find((segment) => segment.id === state.selected);
  parts.pieces.disabled = !selected || Boolean(table?.found.includes(selected.id));
  parts.piecesLabel.textContent = `One by one: pieces of ${selected ? selected.name : 'a segment'}`;
  parts.pieces.checked = Boolean(selected && table?.pieces?.[selected.id]);
  parts.everyClick.checked = Boolean(table?.everyClick);
  parts.scroll.hidden = parts.csv.hidden = rows.length === 0;
  const hint = rows.length === 0 ? 'No segment has voxels yet.' : table.isFinder ? 'MAST-Pro takes no clicks: select a lesion and press Refine.' : '';
  parts.hint.textContent = hint;
  parts.hint.hidden = !hint;
}

// Looking for lesions ---------------------------------------------------------------------------------------------

export async function findLesions() {
  const first = await get('/lesions/search');
  if (!first.title) return; // refused; the message was shown
  const shut = element('button', { onclick: close }, 'Close');
  if (first.why) {
    show('Find lesions', element('p', { id: 'find-why' }, first.why), element('div', { class: 'buttons' }, shut));
    return;
  }
  const phrase = element('input', { id: 'tumor', list: 'tumors', autocomplete: 'off', placeholder: 'For example: pancreatic tumor', 'aria-label': 'Look for' });
  const names = element('datalist', { id: 'tumors' }, ...first.phrases.map((name) => element('option', { value: name })));
  const organs = element('select', { class: 'grow', id: 'organs', 'aria-label': 'Organs from' });
  const where = element('select', { class: 'grow', 'aria-label': 'Look in' }, element('option', { value: '' }, 'The whole image'), element('option', { value: 'slice' }, 'The slice in view'));
  const needs = element('p', { class: 'needs small', id: 'needs' }), problem = element('p', { class: 'problem' });
  const start = element('button', { class: 'primary', id: 'start-finding', onclick: find }, 'Find');
  const list = element('div', { hidden: true });
  let asked = 0;

  async function look(anatomy) {
    const number = ++asked;
    const query = new URLSearchParams({ phrase: phrase.value, ...(anatomy === undefined ? {} : { anatomy }) });
    const form = await get(`/lesions/search?${query}`);
    if (number !== asked || !form.title) return; // typed on meanwhile, or refused
    organs.replaceChildren(element('option', { value: '' }, 'None: search the whole image'),
      ...form.anatomies.map((one) => element('option', { value: one.id }, `${one.text}: ${one.organs.join(', ')}`)));
    organs.value = form.anatomy;
    needs.replaceChildren(...describe(form));
    const reason = phrase.value.trim() ? (form.isChecked && form.needs?.problem) : 'Say what to look for.';
    start.disabled = Boolean(reason);
    start.title = reason || '';
  }

  async function find() {
    problem.textContent = '';
    const result = await post('/lesions', { do: 'find', phrase: phrase.value, anatomy: organs.value, slice: where.value === 'slice' });
    if (!result.ok) { problem.textContent = result.message; return; }
    close();
    tell('done', result.message || `Looking for: ${phrase.value}`);
    parts.details.open = true;
  }

  const open = async (path) => {
    problem.textContent = 'Reading …';
    const result = await post('/lesions', { do: 'organs', path });
    problem.textContent = result.ok ? '' : result.message;
    if (result.ok) { list.hidden = true; look(); }
  };
  const browse = () => folderList(list, { file: open, folder: open });
  phrase.value = first.phrase;
  phrase.addEventListener('input', () => look());
  phrase.addEventListener('keydown', (event) => { if (event.key === 'Enter' && !start.disabled) find(); });
  organs.addEventListener('change', () => look(organs.value));
  show('Find lesions',
    element('p', { class: 'small' }, 'All lesions of one tumor type become one segment: a proposal to look through in the table and to correct with clicks.'),
    element('div', { class: 'form' }, 'Look for', element('div', { class: 'row' }, phrase, names), 'Organs from',
      element('div', { class: 'row' }, organs, element('button', { onclick: browse, title: 'A segmentation of organs, a label map of TotalSegmentator, or its folder of masks' }, 'Open …')),
      'Look in', where),
    list, needs, problem, element('p', { class: 'quiet small' }, first.notes), element('div', { class: 'buttons' }, shut, start));
  phrase.focus();
  look();
}

function describe({ needs }) {
  if (!needs) return [];
  if (needs.problem) return [needs.problem];
  const lines = [];
  const there = needs.there.map(([name, count]) => (count === 1 ? name : `${name} (${count})`)).join(', ');
  if (there) lines.push(`Organs for a ${needs.tumor}: ${there}.`);
  if (needs.missing.length) lines.push(there ? `Missing: ${needs.missing.join(', ')}.` : `A ${needs.tumor} lies in: ${needs.missing.join(', ')}. Not given, so the whole image is searched: slower, and less sure.`);
  if (needs.locked.length) lines.push(`${needs.locked.join(', ')} is accepted and locked in this segmentation, so no lesion can be written there: unlock it.`);
  return lines.map((line) => element('span', {}, line, element('br')));
}

build();
on('state', () => update());
