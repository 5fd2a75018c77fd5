// So that nothing is lost: what is kept on disk meanwhile, earlier works to go on with, and downloads.

import { close, working } from './dialogs.js';
import { contentOf, get, on, post, store, tell } from './link.js';
import { element } from './panel.js';

const FORMATS = [
  ['seg.nrrd', 'download-nrrd', '.seg.nrrd', 'For Slicer and for going on here: names, colors, codes, prompts and locks.'],
  ['mrb', 'download-scene', '.mrb', 'The same with the image, as one Slicer scene.'],
  ['dcm', 'download-dicom', 'DICOM SEG', 'For archives and clinical viewers: names, colors and codes.'],
  ['nii.gz', 'download-nifti', '.nii.gz', 'Only the numbers 1, 2, … of the segments.'],
  ['jsonl', 'download-log', 'Prompt log', 'What was done when, and who answered: one line of JSON each.'],
];

// The table of downloads; what goes wrong is written into the problem's line.
export function downloads(problem) {
  return element('table', { class: 'formats' }, ...FORMATS.map(([format, id, title, text]) => {
    const reason = format === 'dcm' ? store.info.noDicom : '';
    const button = element('button', { id, class: format === 'seg.nrrd' ? 'primary' : '', disabled: Boolean(reason), onclick: () => download(format, problem) }, title);
    return element('tr', {}, element('td', {}, button), element('td', { class: 'quiet' }, reason || text));
  }));
}

async function download(format, problem) {
  problem.textContent = 'Writing …';
  const response = await fetch(`/download/${format}`);
  if (!response.ok) {
    problem.textContent = (await contentOf(response)).message;
    return;
  }
  const name = /filename="(.*)"/.exec(response.headers.get('Content-Disposition'))[1];
  const note = decodeURIComponent(response.headers.get('X-Note') ?? '');
  const place = URL.createObjectURL(await response.blob());
  element('a', { href: place, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(place), 60_000);
  problem.textContent = '';
  close();
  tell('done', `Downloaded ${name}. ${note}`);
}

// Works of earlier programs, in a box that stays hidden when there are none.
export async function earlierWorks(box, problem) {
  const works = await get('/works');
  box.hidden = !works.length;
  box.replaceChildren(element('p', {}, 'Go on with earlier work:'), element('ul', { class: 'list', id: 'works' }, ...works.map((work) => {
    const locked = work.locked ? `, ${work.locked} accepted` : '';
    return element('li', { class: 'row', onclick: () => working(problem, () => post('/works/resume', { work: work.work })) },
      element('span', { class: 'grow' }, `${work.name}: ${work.segments.join(', ')}${locked}`),
      element('span', { class: 'quiet' }, new Date(1000 * work.changed).toLocaleString()),
      element('button', { class: 'mini', title: 'Remove it from this computer', 'aria-label': 'Remove this work', onclick: async (event) => {
        event.stopPropagation();
        const result = await post('/works/remove', { work: work.work });
        problem.textContent = result.ok ? '' : result.message;
        earlierWorks(box, problem);
      } }, '✕'));
  })));
}

// What to do when the program does not answer any more.
export function lostHelp() {
  if (!store.state?.kept) return 'MoESeg does not answer. Is it still running? The page connects again as soon as it is.';
  const here = ['127.0.0.1', 'localhost', '[::1]'].includes(location.hostname);
  const command = `moeseg app --resume${here ? ` --port ${location.port}` : ''}`;
  return element('span', {}, `MoESeg does not answer. If it ended, nothing is lost that was kept at ${clock(store.state.kept)}. Type in a terminal:`,
    element('br'), element('code', {}, command), element('br'),
    here ? 'This page connects by itself then.' : 'Then open the address that it prints.');
}

const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString();

on('state', (state) => {
  const place = document.getElementById('kept');
  place.classList.toggle('alert', Boolean(state.keepProblem));
  place.textContent = state.keepProblem ? 'not kept' : state.keeping ? 'keeping …' : state.kept ? `kept ${clock(state.kept)}` : '';
  place.title = state.keepProblem || 'Image, segments, prompts and locks are kept on this computer. After a crash: moeseg app --resume';
});
