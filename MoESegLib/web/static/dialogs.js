// Open, save, get a model, help.

import { downloads, earlierWorks } from './keep.js';
import { get, post, send, store, tell } from './link.js';
import { element } from './panel.js';

const dialog = () => document.getElementById('dialog');

export function show(title, ...parts) {
  dialog().replaceChildren(element('h3', {}, title), ...parts);
  if (!dialog().open) dialog().showModal();
}

export function close() { dialog().close(); }

function buttons(...list) {
  return element('div', { class: 'buttons' }, element('button', { onclick: close }, 'Close'), ...list);
}

// Do what reads a file, and close the dialog; what goes wrong is written into the problem's line.
export async function working(problem, action) {
  problem.textContent = 'Reading …';
  const result = await action();
  problem.textContent = result.ok ? '' : result.message;
  if (result.ok) { close(); tell('done', result.message); }
}

export function openFiles() {
  const problem = element('p', { class: 'problem' });
  const isSegmentation = element('input', { type: 'checkbox', id: 'as-segmentation', disabled: !store.info });
  const picker = element('input', { type: 'file', multiple: true, id: 'upload', hidden: true, onchange: () => upload([...picker.files]) });
  const upload = (files) => {
    if (!files.length) return;
    const form = new FormData();
    for (const file of files) form.append('file', file, file.name);
    working(problem, () => post(isSegmentation.checked ? '/upload?segmentation=1' : '/upload', form));
  };
  const drop = element('div', {
    class: 'drop', ondragover: (event) => event.preventDefault(),
    ondrop: (event) => { event.preventDefault(); upload([...event.dataTransfer.files]); },
  }, 'Drop a file here (or all files of one DICOM series, or a zip of them), or ', element('button', { onclick: () => picker.click() }, 'choose …'), picker);
  const earlier = element('div', { hidden: true });
  const list = element('div');
  show('Open', earlier, element('p', {}, element('label', {}, isSegmentation, 'It is a segmentation of the open image (.seg.nrrd or label map)')),
    drop, list, problem, buttons());
  earlierWorks(earlier, problem);
  folderList(list, { file: (path) => working(problem, () => post('/open', { path, segmentation: isSegmentation.checked })) });
}

// Show the allowed folders in a box; what is chosen there goes to file, or to folder where a folder can be chosen.
export function folderList(box, { file, folder: whole }) {
  const list = element('ul', { class: whole ? 'list short' : 'list' });
  const place = element('span', { class: 'quiet grow' });
  const use = element('button', { hidden: true }, 'Use this folder');
  let here = '';
  use.addEventListener('click', () => whole(here));
  const browse = async (folder) => {
    here = folder;
    place.textContent = folder || 'Allowed folders';
    use.hidden = !whole || !folder;
    const entries = await get(`/files?folder=${encodeURIComponent(folder)}`);
    const up = folder ? [element('li', { onclick: () => browse('') }, '← allowed folders')] : [];
    list.replaceChildren(...up, ...entries.map((entry) => element('li', {
      onclick: () => (entry.kind === 'folder' ? browse(entry.path) : file?.(entry.path)),
    }, `${entry.kind === 'folder' ? '▸ ' : ''}${entry.name}${entry.kind === 'dicom' ? '  (DICOM series)' : ''}`)));
    if (!entries.length && !folder) list.replaceChildren(element('li', {}, 'None. Start with: moeseg app --allow FOLDER'));
  };
  box.replaceChildren(element('div', { class: 'row' }, place, use), list);
  box.hidden = false;
  browse('');
}

export function saveFiles() {
  if (!store.info) { tell('message', 'Open an image first.'); return; }
  const problem = element('p', { class: 'problem' });
  const folders = element('select', { class: 'grow', 'aria-label': 'Folder' });
  const name = element('input', { 'aria-label': 'File name' });
  name.value = `${store.info.name || 'image'}.seg.nrrd`;
  const write = async (overwrite) => {
    const result = await post('/save', { folder: folders.value, name: name.value, overwrite });
    problem.textContent = result.message;
    if (result.exists) problem.append(' ', element('button', { onclick: () => write(true) }, 'Replace it'));
    if (result.ok) { close(); tell('done', result.message); }
  };
  const into = element('div', { class: 'row', hidden: true }, folders, name, element('button', { onclick: () => write(false) }, 'Save'));
  get('/files').then((entries) => {
    into.hidden = entries.length === 0;
    folders.replaceChildren(...entries.map((entry) => element('option', { value: entry.path }, entry.name)));
  });
  show('Save the segmentation',
    element('p', {}, 'Download:'), downloads(problem), into, problem, buttons());
}

export function askForModel() {
  const model = store.models.find((one) => one.name === store.state.model);
  show(`Get ${model.title}?`,
    element('p', {}, `${model.size} from ${model.source}`), element('p', {}, `License: ${model.license}`),
    element('p', { class: 'quiet' }, 'The file is checked and stays on this computer until you remove it; nothing about your images is sent.'),
    buttons(element('button', { class: 'primary', onclick: () => { send({ do: 'get_model', name: model.name }); close(); } }, 'Get it')));
}

export function showHelp(keys) {
  const rows = [...keys, ['Wheel, ↑ ↓', 'Scroll slices'], ['Ctrl + wheel', 'Zoom'], ['Middle button, Alt + drag', 'Move the picture'],
    ['Right button, drag', 'Gray window'], ['Left click without a tool', 'Crosshair'], ['Shift + mouse', 'Crosshair follows'], ['Drag a point, box or line', 'Move that prompt; a corner of a box alone'], ['Double click', 'Enlarge a view, and back']];
  show('Keys and mouse', element('table', {}, ...rows.map(([key, what]) => element('tr', {}, element('td', {}, element('kbd', {}, key)), element('td', {}, what)))), buttons());
}
