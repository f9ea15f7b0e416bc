'use strict';
// Runs a Node.js action inside its container: /init once, then /run per activation (contract 4.1).
//
// The hub passes a listening unix socket as descriptor 3. Connections carry HTTP/1.1 with keep-alive; on each one the
// launcher first writes the line `ready`. Requests of one connection are served in turn, connections beside each other.

const { writeSync } = require('fs');
const net = require('net');
const vm = require('vm');

const SENTINEL = Buffer.from('XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n');
// So long a container must wait for its first request before the launcher uses the time to warm its code.
const IDLE_MS = 40;
// So long it waits for a hub's first connection: one that died meanwhile leaves nothing behind.
const ALONE_MS = 60000;
const ACTION_FILE = '/tmp/action/action.js';
const ACTION_DIRECTORY = '/tmp/action';
const IDENTIFIER = /^[A-Za-z_$][\w$]*(\.[A-Za-z_$][\w$]*)*$/;

let handler;
let initBegun = false;
let idle;
// The hub's connections; it keeps one for as long as it lives.
let connections = 0;

// The environment variables that change with every run. The C library never frees a value that was once set, so they
// are not set: the action sees them in `process.env`, over those of the process.
const variables = Object.create(null);
const variableNames = new Map();
process.env = new Proxy(process.env, {
  get: (env, name) => (name in variables ? variables[name] : env[name]),
  has: (env, name) => name in variables || name in env,
  set(env, name, value) {
    if (name in variables) variables[name] = String(value);
    else env[name] = value;
    return true;
  },
  deleteProperty: (env, name) => (name in variables ? delete variables[name] : delete env[name]),
  ownKeys: (env) => [...new Set([...Reflect.ownKeys(env), ...Object.keys(variables)])],
  getOwnPropertyDescriptor: (env, name) => (name in variables
    ? { value: variables[name], writable: true, enumerable: true, configurable: true }
    : Reflect.getOwnPropertyDescriptor(env, name)),
  defineProperty(env, name, property) {
    if (!(name in variables)) return Reflect.defineProperty(env, name, property);
    variables[name] = String(property.value);
    return true;
  },
});

function setVariable(name, text) {
  let full = variableNames.get(name);
  if (full === undefined) {
    full = '__OW_' + name.toUpperCase();
    variableNames.set(name, full);
  }
  variables[full] = text;
}

const failure = (status, text) => [status, JSON.stringify({ error: text })];

// Compiles source text so that its top level is a function's body, and answers what `main` names in it.
function loadSource(code, main) {
  const { createRequire } = require('module');
  const module = { exports: {} };
  const names = ['exports', 'require', 'module', '__filename', '__dirname'];
  const found = IDENTIFIER.test(main) ? `try { return ${main}; } catch (e) { if (!(e instanceof ReferenceError)) throw e; }` : '';
  const options = { filename: ACTION_FILE };
  const loader = vm.constants && vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER;
  if (loader) options.importModuleDynamically = loader;
  let body;
  try {
    body = vm.compileFunction(`${code}\n;${found}`, names, options);
  } catch (error) {
    // Of the action's text alone, so that the fault is shown where it is.
    if (error instanceof SyntaxError) vm.compileFunction(code, names, options);
    throw error;
  }
  const local = body(module.exports, createRequire(ACTION_FILE), module, ACTION_FILE, ACTION_DIRECTORY);
  return local === undefined ? module.exports[main] : local;
}

// Writes the files of a zip archive below ACTION_DIRECTORY.
function unzip(archive) {
  const fs = require('fs');
  const path = require('path');
  const zlib = require('zlib');
  let tail = archive.length - 22;
  while (tail >= 0 && archive.readUInt32LE(tail) !== 0x06054b50) tail--;
  if (tail < 0) throw new Error('the code is no zip archive');
  let at = archive.readUInt32LE(tail + 16);
  for (let left = archive.readUInt16LE(tail + 10); left > 0; left--) {
    if (archive.readUInt32LE(at) !== 0x02014b50) throw new Error('the zip archive is damaged');
    const method = archive.readUInt16LE(at + 10);
    const size = archive.readUInt32LE(at + 20);
    const nameLength = archive.readUInt16LE(at + 28);
    const name = archive.toString('utf8', at + 46, at + 46 + nameLength);
    const local = archive.readUInt32LE(at + 42);
    at += 46 + nameLength + archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32);
    const target = path.join(ACTION_DIRECTORY, path.join('/', name));
    if (name.endsWith('/')) {
      fs.mkdirSync(target, { recursive: true });
      continue;
    }
    const start = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
    const data = archive.subarray(start, start + size);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.writeFileSync(target, method === 0 ? data : zlib.inflateRawSync(data));
  }
}

async function loadArchive(code, main) {
  const fs = require('fs');
  const path = require('path');
  unzip(Buffer.from(code, 'base64'));
  const names = ['package.json', 'index.js', 'index.mjs'].filter((name) => fs.existsSync(path.join(ACTION_DIRECTORY, name)));
  if (names.length === 0) throw new Error('Zipped actions must contain either package.json or index.js at the root.');
  process.chdir(ACTION_DIRECTORY);
  let exported;
  try {
    exported = require(ACTION_DIRECTORY);
  } catch (error) {
    if (error.code !== 'ERR_REQUIRE_ESM' && !(error.code === 'MODULE_NOT_FOUND' && names.includes('index.mjs'))) throw error;
    const file = names[0] === 'package.json' ? JSON.parse(fs.readFileSync('package.json')).main : undefined;
    exported = await import(path.join(ACTION_DIRECTORY, file || names.find((name) => name.startsWith('index'))));
  }
  return main.split('.').reduce((object, key) => object && object[key], exported);
}

async function init(value) {
  if (initBegun) return failure(403, 'Cannot initialize the action more than once.');
  if (value === null || typeof value !== 'object' || !value.code) return failure(403, 'Missing main/no code to execute.');
  initBegun = true;
  for (const name in value.env) {
    const given = value.env[name];
    const text = typeof given === 'string' ? given : JSON.stringify(given);
    if (name.startsWith('__OW_')) variables[name] = text;
    else process.env[name] = text;
  }
  const main = value.main || 'main';
  try {
    const loaded = value.binary ? await loadArchive(value.code, main) : loadSource(value.code, main);
    if (typeof loaded !== 'function') throw new TypeError(`Action entrypoint '${main}' is not a function.`);
    handler = loaded;
    return [200, '{"OK":true}'];
  } catch (error) {
    console.error(error);
    const text = error instanceof TypeError && error.message.startsWith('Action entrypoint') ? error.message : String(error);
    return failure(502, `Initialization has failed due to: ${text}`);
  }
}

// What a rejected promise's reason looks like in the result.
function plain(reason) {
  if (!reason) return {};
  if (!(reason instanceof Error)) return reason;
  const out = { ...reason };
  for (const name of ['name', 'message', 'stack', 'code']) {
    if (typeof reason[name] === 'string') out[name] = reason[name];
  }
  return out;
}

async function run(request) {
  if (handler === undefined) return failure(403, 'Cannot invoke an uninitialized action.');
  for (const name in request) {
    if (name !== 'value' && typeof request[name] === 'string') setVariable(name, request[name]);
  }
  let result;
  try {
    result = handler(request.value);
  } catch (error) {
    console.error(error);
    return failure(502, `An error has occurred: ${error}`);
  }
  try {
    result = await result;
  } catch (reason) {
    return [200, JSON.stringify({ error: plain(reason) })];
  }
  if (result === undefined) return [200, '{}'];
  if (typeof result !== 'object') {
    console.error(`Result must be of type object but has type "${typeof result}":`, result);
    return failure(502, 'The action did not return a dictionary.');
  }
  try {
    return [200, JSON.stringify(result)];
  } catch (error) {
    console.error(error);
    return failure(502, `An error has occurred: ${error}`);
  }
}

// Ends this activation's share of a log stream.
function endLogs(stream, descriptor) {
  if (stream.writableLength > 0) return stream.write(SENTINEL);
  try {
    writeSync(descriptor, SENTINEL);
  } catch (error) {
    // The pipe is full, and in Node.js's hands it does not block.
    if (error.code === 'EAGAIN') stream.write(SENTINEL);
  }
}

async function answer(path, body) {
  let request;
  try {
    request = JSON.parse(body);
  } catch (error) {
    return failure(400, 'the request is no JSON object');
  }
  const reply = path === '/init' ? await init(request.value) : await run(request);
  if (path === '/run' || reply[0] === 502) {
    endLogs(process.stdout, 1);
    endLogs(process.stderr, 2);
  }
  return reply;
}

function serve(socket) {
  let parts = [];
  let have = 0;
  let need = -1;
  let start = 0;
  let path = '';
  connections++;
  socket.on('error', () => socket.destroy());
  socket.on('close', () => {
    connections--;
    if (connections === 0) process.exit(0);
  });
  socket.on('data', async (chunk) => {
    clearTimeout(idle);
    parts.push(chunk);
    have += chunk.length;
    if (need < 0) {
      parts = [Buffer.concat(parts)];
      const end = parts[0].indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = parts[0].toString('latin1', 0, end);
      path = head.split(' ', 2)[1];
      const length = /\r\ncontent-length: *(\d+)/i.exec(head);
      start = end + 4;
      need = start + (length ? Number(length[1]) : 0);
    }
    if (have < need) return;
    const data = parts.length === 1 ? parts[0] : Buffer.concat(parts);
    parts = [];
    have = 0;
    need = -1;
    const [status, text] = await answer(path, data.toString('utf8', start));
    socket.write(`HTTP/1.1 ${status} \r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  });
  socket.write('ready\n');
}

// Runs what /init and /run will run, so that their code is compiled and their modules are loaded.
function warm() {
  const main = loadSource('function main(a) { return a; }', 'main');
  JSON.stringify(main(JSON.parse('{"a":[1,2.5,"x",null,true]}')));
  process.stdout.write('');
  process.stderr.write('');
}

process.on('unhandledRejection', (reason) => console.error(reason));
net.createServer({ noDelay: false }, serve).listen({ fd: 3 }, () => {
  idle = setTimeout(warm, IDLE_MS);
  setTimeout(() => connections === 0 && process.exit(0), ALONE_MS).unref();
});
