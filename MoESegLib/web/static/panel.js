// The column on the right: segments, prompts, answer, model. It shows the state that the server sends, nothing else.

import { get, on, send, store, tell } from './link.js';
import { askForModel } from './dialogs.js';

const $ = (id) => document.getElementById(id);
const PROMPTS = { point: 'Point', box: 'Box', scribble: 'Scribble', polygon: 'Outline', text: 'Text', mask: 'Start from segment', automatic: 'Without prompt' };

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, '');
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Rebuilding a list under the mouse would lose clicks and the field being typed into, so only when it changed.
const shown = new Map();
function changed(name, data) {
  const text = JSON.stringify(data);
  if (shown.get(name) === text) return false;
  shown.set(name, text);
  return true;
}

function enable(id, reason, tip) {
  const control = $(id);
  control.dataset.tip ??= control.title;
  control.disabled = Boolean(reason);
  control.title = reason || (tip ?? control.dataset.tip);
}

export function setUp() {
  $('add-segment').addEventListener('submit', (event) => {
    event.preventDefault();
    send({ do: 'add_segment', name: $('segment-name').value });
    $('segment-name').value = '';
    $('segment-name').blur();
  });
  $('phrase-form').addEventListener('submit', (event) => {
    event.preventDefault();
    if ($('phrase').value.trim()) {
      tell('asked', performance.now());
      send({ do: 'text', text: $('phrase').value });
    }
    $('phrase').value = '';
    $('phrase').blur();
  });
  for (const id of ['segment-name', 'phrase']) $(id).addEventListener('input', () => suggest($(id).value));
  for (const button of $('extent').children) button.addEventListener('click', () => send({ do: 'extent', value: button.dataset.value }));
  $('automatic').addEventListener('click', () => send({ do: 'automatic' }));
  $('run').addEventListener('click', () => send({ do: 'run' }));
  $('accept').addEventListener('click', () => send({ do: 'accept' }));
  $('cancel').addEventListener('click', () => send({ do: 'cancel' }));
  $('model').addEventListener('change', () => send({ do: 'model', name: $('model').value }));
  $('expert').addEventListener('change', () => send({ do: 'expert', name: $('expert').value }));
  $('overlap').addEventListener('change', () => send({ do: 'overlap', value: $('overlap').value }));
  $('get').addEventListener('click', () => askForModel());
  for (const id of ['changes', 'confidence']) {
    $(id).addEventListener('change', () => send({ do: 'overlays', changes: $('changes').checked, confidence: $('confidence').checked }));
  }
  on('state', refresh);
}

async function suggest(start) {
  const names = await get(`/names?start=${encodeURIComponent(start)}`);
  $('names').replaceChildren(...names.map((name) => element('option', { value: name })));
}

function refresh(state) {
  const open = state.case !== null;
  const selected = open ? state.segments.find((segment) => segment.id === state.selected) : null;
  progress(state.progress);
  if (!open) return;
  if (changed('segments', [state.segments, state.selected])) segments(state);
  if (changed('prompts', state.prompts)) prompts(state.prompts);
  if (changed('answer', [state.answer, selected, state.case])) answer(state, selected);
  if (changed('models', [store.models, state.model])) models(state);
  experts(state);
  for (const button of $('extent').children) button.setAttribute('aria-checked', String(button.dataset.value === state.extent));
  $('overlap').value = state.overlap;
  $('changes').checked = state.changes;
  $('confidence').checked = state.confidence;
  $('why').textContent = state.why;
  const text = state.why || (state.understands.includes('text') ? '' : 'The chosen model does not understand text.');
  enable('phrase', text);
  enable('automatic', state.why || (state.understands.includes('automatic') ? '' : 'The chosen model has no expert that segments without a prompt.'));
  enable('run', state.unanswered ? '' : 'Every prompt is answered.');
  enable('confidence', state.answer?.hasProbability ? '' : 'The answer does not say how sure the model is of every voxel.');
  enable('accept', selected ? '' : 'Select a segment first.');
  $('accept').textContent = selected?.locked ? 'Unlock' : 'Accept and lock';
}

function progress(data) {
  $('progress').hidden = $('cancel').hidden = data === null;
  if (!data) return;
  if (data.fraction >= 0) $('progress').value = data.fraction; else $('progress').removeAttribute('value');
  $('progress').title = data.text;
}

function segments(state) {
  if ($('segments').querySelector('input')) return; // a name is being typed
  $('segments').replaceChildren(...state.segments.map((segment) => {
    const [r, g, b] = segment.color.map((part) => Math.round(255 * part));
    const swatch = element('button', {
      class: segment.visible ? 'swatch' : 'swatch hidden', title: segment.visible ? 'Hide' : 'Show', 'aria-label': `Show ${segment.name}`,
      onclick: (event) => { event.stopPropagation(); send({ do: 'show_segment', id: segment.id, on: !segment.visible }); },
    });
    swatch.style.background = `rgb(${r} ${g} ${b})`;
    const name = element('span', { class: 'name', title: 'Double-click to rename' }, segment.name);
    const row = element('li', {
      'aria-selected': String(segment.id === state.selected), class: segment.visible ? '' : 'hiddenrow', 'data-id': segment.id,
      onclick: () => send({ do: 'select_segment', id: segment.id }),
      ondblclick: () => rename(row, segment),
    }, swatch, name, element('span', { class: 'amount' }, segment.milliliters ? amount(segment.milliliters) : 'empty'),
    ...(segment.locked ? [element('img', { src: '/icons/Accept.svg', width: 17, alt: 'locked', title: 'Accepted and locked' })] : []),
    element('button', { class: 'mini', title: 'Delete (Undo brings it back)', 'aria-label': `Delete ${segment.name}`, disabled: segment.locked,
      onclick: (event) => { event.stopPropagation(); send({ do: 'remove_segment', id: segment.id }); } }, '✕'));
    return row;
  }));
  if (changed('selection', [state.case, state.selected])) reveal($('segments'), $('segments').querySelector('[aria-selected="true"]'));
}

// Scroll a short list so that a row is seen; scrollIntoView would move the whole column.
function reveal(list, row) {
  if (!row) return;
  const top = row.offsetTop - list.offsetTop;
  list.scrollTop = Math.min(top, Math.max(list.scrollTop, top + row.offsetHeight - list.clientHeight));
}

function rename(row, segment) {
  if (segment.locked) return;
  const field = element('input', { list: 'names', 'aria-label': 'New name' });
  field.value = segment.name;
  let done = false;
  const finish = (keep) => {
    if (done) return;
    done = true;
    field.remove();
    shown.delete('segments');
    if (keep && field.value.trim() && field.value !== segment.name) send({ do: 'rename_segment', id: segment.id, name: field.value });
    else refresh(store.state);
  };
  field.addEventListener('keydown', (event) => {
    event.stopPropagation();
    if (event.key === 'Enter') finish(true);
    if (event.key === 'Escape') finish(false);
  });
  field.addEventListener('input', () => suggest(field.value));
  field.addEventListener('blur', () => finish(true));
  field.addEventListener('click', (event) => event.stopPropagation());
  row.querySelector('.name').replaceWith(field);
  field.select();
}

function prompts(list) {
  $('prompts').replaceChildren(...list.map((prompt, n) => {
    const sign = prompt.signed ? (prompt.positive ? ' inside (+)' : ' outside (−)') : '';
    const flip = prompt.signed ? [element('button', { class: 'mini', title: 'Swap inside and outside', onclick: (event) => { event.stopPropagation(); send({ do: 'flip_prompt', id: prompt.id }); } }, '±')] : [];
    return element('li', { title: 'Click to go there', onclick: () => jump(prompt) },
      element('span', { class: 'what' }, `${n + 1}. ${prompt.organ ? `Organ: ${prompt.organ}` : PROMPTS[prompt.kind]}${sign}${prompt.text ? ` “${prompt.text}”` : ''}`), ...flip,
      element('button', { class: 'mini', title: 'Delete this prompt', 'aria-label': 'Delete prompt', onclick: (event) => { event.stopPropagation(); send({ do: 'remove_prompt', id: prompt.id }); } }, '✕'));
  }));
  if (changed('latest prompt', list.at(-1)?.id ?? '')) reveal($('prompts'), $('prompts').lastElementChild);
}

function jump(prompt) {
  for (const [plane, where] of Object.entries(prompt.places)) store.views[plane].show((where.slices[0] + where.slices[1]) / 2);
}

const amount = (milliliters) => `${milliliters.toFixed(milliliters < 10 ? 2 : 0)} mL`;
const percent = (value) => `${Math.round(100 * value)} %`;

function answer(state, selected) {
  const { answer: card } = state;
  const lines = [];
  if (!selected) lines.push(element('p', { class: 'quiet' }, 'Click in a view with the point tool (P), draw a box (X), or add a segment.'));
  else if (selected.locked) lines.push(element('p', {}, 'Accepted and locked: neither prompts nor neighbors change it.'));
  else if (!card) lines.push(element('p', { class: 'quiet' }, 'No answer yet. Place a prompt on the target.'));
  if (card && selected && !selected.locked) {
    const who = element('p', {}, element('b', {}, card.expert === 'base' ? card.title : card.expert));
    who.append(element('span', { class: 'quiet' }, card.expert === 'base' ? '' : `  expert of ${card.title}`, card.gate === null ? '' : `, gate ${percent(card.gate)}`));
    lines.push(who);
    const unsure = card.isSearch ? 'See the table of lesions for how sure it is of each.' : 'It does not say how sure it is.';
    if (card.confidence === null && (!card.isSearch || card.milliliters)) lines.push(element('p', { class: 'quiet' }, unsure));
    else lines.push(element('p', { class: 'sure' }, `${percent(card.confidence)} sure`, element('meter', { min: 0, max: 1, low: 0.6, high: 0.8, optimum: 1, value: card.confidence })));
    lines.push(element('p', { title: 'Of the answer. The list of segments says what the segment holds, with what was painted and without what neighbors took.' }, `${amount(card.milliliters)}  `, element('span', { class: 'quiet' }, `+${card.added.toLocaleString('en')} −${card.removed.toLocaleString('en')} voxels, ${card.seconds < 10 ? `${Math.round(1000 * card.seconds)} ms` : `${Math.round(card.seconds)} s`}`)));
    for (const note of card.notes) lines.push(element('p', { class: 'notes' }, note));
  }
  $('answer').replaceChildren(...lines);
  const others = card && selected && !selected.locked ? card.alternatives : [];
  $('alternatives').replaceChildren(...others.map((other) => element('button', {
    title: `Let ${other.expert} answer`, onclick: () => send({ do: 'expert', name: other.expert }),
  }, element('img', { src: `/alternative?${new URLSearchParams({ segment: state.selected, expert: other.expert, r: state.revision })}`, alt: '' }),
  `${other.expert} ${other.confidence !== null ? percent(other.confidence) : other.gate !== null ? `gate ${percent(other.gate)}` : ''}`)));
}

function models(state) {
  $('model').replaceChildren(...store.models.map((model) => element('option', { value: model.name, selected: model.name === state.model },
    model.state === 'installed' ? model.title : `${model.title} (${model.state === 'missing' ? `get, ${model.size}` : 'damaged'})`)));
  $('model').value = state.model;
  const card = store.models.find((model) => model.name === state.model);
  $('get').hidden = card.state !== 'missing' || Boolean(card.how);
  const rows = [card.description, `Understands: ${card.prompts.join(', ')}`, `Images: ${card.dimension.toUpperCase()}, ${card.modalities.join(', ')}`,
    `Size: ${card.size}. License: ${card.license}`, ...card.measured, card.notes, card.how];
  $('card').replaceChildren(...rows.filter(Boolean).map((row) => element('p', {}, row)));
}

function experts(state) {
  const list = state.experts, none = list.every((name) => name === state.answer?.expert); // nobody else to ask
  if (changed('experts', [list, state.expert])) {
    $('expert').replaceChildren(element('option', { value: '' }, 'Chosen by the model'), ...list.map((name) => element('option', { value: name }, name)));
    $('expert').value = none ? '' : state.expert;
  }
  enable('expert', none ? 'This model has no experts to choose from, or none has answered yet.' : '');
}
