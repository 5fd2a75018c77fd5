// The line to the server: one WebSocket for commands and state, HTTP for pictures.

export const store = { info: null, state: null, models: [], window: [0, 255], tool: '', active: 'axial', masks: true };
const listeners = new Map();

export function on(event, act) {
  if (!listeners.has(event)) listeners.set(event, []);
  listeners.get(event).push(act);
}

export function tell(event, data) {
  for (const act of listeners.get(event) ?? []) act(data);
}

let socket = null;
let refused = false;

function tabName() {
  // Kept over a reload of the page, and not shared with other tabs.
  let name = sessionStorage.getItem('moeseg-tab');
  if (!name) {
    name = [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(16).padStart(2, '0')).join('');
    sessionStorage.setItem('moeseg-tab', name);
  }
  return name;
}

export function connect(takeOver = false) {
  refused = false;
  socket?.close();
  const own = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/socket`);
  socket = own; // what an older one still says does not count
  own.onopen = () => { if (own === socket) send({ do: 'hello', tab: tabName(), takeOver }); };
  own.onmessage = (event) => { if (own === socket) take(JSON.parse(event.data)); };
  own.onclose = () => {
    if (own !== socket || refused) return;
    tell('lost');
    setTimeout(() => { if (own === socket) connect(); }, 1000);
  };
}

function take(data) {
  if (data.type === 'case') {
    store.info = data;
    tell('case', data);
  } else if (data.type === 'models') {
    store.models = data.models;
  } else if (data.type === 'state') {
    store.state = data;
    tell('state', data);
  } else if (data.type === 'message') {
    tell('message', data.text);
  } else if (data.type === 'stage') {
    store.stage = data;
    tell('stage', data);
  } else if (data.type === 'elsewhere' || data.type === 'taken') {
    refused = true;
    tell(data.type);
  } else tell(data.type, data);
}

export function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

async function bytes(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(await response.text());
  return response.arrayBuffer();
}

// Slices of the image never change, so those seen last are kept (they are not in the browser's cache on disk).
const MOST_BYTES = 256e6;
const slices = new Map();
let kept = 0;
let keptCase = '';

export async function getSlice(plane, index) {
  const number = store.info.case;
  if (number !== keptCase) {
    slices.clear();
    kept = 0;
    keptCase = number;
  }
  const key = `${number}/${plane}/${index}`;
  if (slices.has(key)) {
    const known = slices.get(key);
    slices.delete(key);
    slices.set(key, known);
    return known;
  }
  const color = store.info.color;
  const promise = bytes(`/slice/${key}`).then((data) => {
    kept += data.byteLength;
    while (kept > MOST_BYTES && slices.size > 8) {
      const oldest = slices.keys().next().value;
      Promise.resolve(slices.get(oldest)).then((array) => { kept -= array.byteLength; }, () => {});
      slices.delete(oldest);
    }
    return color ? new Uint8Array(data) : new Uint16Array(data);
  });
  slices.set(key, promise);
  promise.catch(() => slices.delete(key));
  return promise;
}

const layerCache = new Map();

export async function getLayers(plane, index) {
  const key = `${store.info.case}/${plane}/${index}`;
  const wanted = `${key}@${store.state.revision}`;
  if (layerCache.has(wanted)) return layerCache.get(wanted);
  const promise = bytes(`/layers/${key}`).then((data) => {
    const length = new DataView(data).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    let at = 4 + length;
    for (const layer of head.layers) {
      const [, , width, height] = layer.rect;
      layer.voxels = new Uint8Array(data, at, width * height);
      at += width * height;
    }
    return head.layers;
  });
  layerCache.set(wanted, promise);
  if (layerCache.size > 90) layerCache.delete(layerCache.keys().next().value);
  promise.catch(() => layerCache.delete(wanted));
  return promise;
}

export async function getSurface(segment) {
  const data = await bytes(`/surface/${store.info.case}/${encodeURIComponent(segment)}`);
  const count = new DataView(data).getUint32(0, true);
  return { points: new Float32Array(data, 4, 3 * count), triangles: new Uint32Array(data, 4 + 12 * count) };
}

export async function post(path, body) {
  const form = body instanceof FormData;
  const response = await fetch(path, {
    method: 'POST', body: form ? body : JSON.stringify(body), headers: form ? {} : { 'Content-Type': 'application/json' },
  });
  return { ok: response.ok, ...await contentOf(response) };
}

// What the server answered; refusals at the door are plain text.
export async function contentOf(response) {
  const text = await response.text();
  try { return JSON.parse(text); } catch { return { message: text }; }
}

export async function get(path) {
  const response = await fetch(path);
  if (response.ok) return response.json();
  tell('message', (await contentOf(response)).message);
  return [];
}
