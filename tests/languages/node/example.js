// A model's life over plain gRPC: node example.js HOST:PORT
//
// Amid it the server is to be restarted: it prints `restart` and goes on when a line comes in, as run.sh does it.
// The proto files are read as they are. Calls that change something carry a request id, so that the retries of
// service_config.json do them once. Watches and transfers are not in that file: they take as long as they take.
'use strict';

const assert = require('node:assert');
const { createHash, randomUUID } = require('node:crypto');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');

const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const PIECE = 1024 * 1024;
const ROOT = path.join(__dirname, '../../..', 'proto');
const FILES = ['models', 'version_service', 'artifacts', 'lifecycle', 'events', 'errors'];
const CONFIG = fs.readFileSync(path.join(__dirname, '..', 'service_config.json'), 'utf8');

const loaded = loader.loadSync(FILES.map((file) => `modelregistry/v1/${file}.proto`), {
  includeDirs: [ROOT], keepCase: true, longs: String, enums: String, defaults: true, oneofs: true,
});
const registry = grpc.loadPackageDefinition(loaded).modelregistry.v1;

/** A call of one request and one answer, as a promise. */
function ask(client, method, request, ...rest) {
  return new Promise((resolve, reject) => {
    client[method]({ request_id: randomUUID(), ...request }, ...rest, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

/** The reason that the registry gives for an error: the field 1 of the ErrorInfo in the details. */
function reasonOf(error) {
  const [details] = error.metadata.get('grpc-status-details-bin');
  const reason = /type\.googleapis\.com\/google\.rpc\.ErrorInfo[^A-Z]*([A-Z_]+)/.exec(details.toString('latin1'));
  return reason && reason[1];
}

/** Uploads a file. Announced by its digest, it is kept whole or not at all. `most` gives it up after so many bytes. */
async function upload(artifacts, version, file, data, most = Infinity) {
  const sha256 = createHash('sha256').update(data).digest('hex');
  let call;
  const answered = new Promise((resolve, reject) => {
    call = artifacts.UploadArtifact((error, artifact) => (error ? reject(error) : resolve(artifact)));
  });
  const artifact = { path: file, type: 'model', size_bytes: data.length, sha256 };
  call.write({ metadata: { parent: version, artifact, request_id: randomUUID() } });
  for (let start = 0; start < data.length; start += PIECE) {
    if (start >= most) {
      call.cancel();
      return answered;
    }
    if (!call.write({ data: data.subarray(start, start + PIECE) })) await once(call, 'drain');
  }
  call.end();
  return answered;
}

/** Begins a watch. How it ends is kept, for whoever reads it: that may be later. */
function begin(events, request, ...options) {
  const watch = events.WatchEvents(request, ...options);
  watch.on('error', (error) => { watch.end = error; });
  return watch;
}

/** Reads a watch until `wanted` says that it has seen enough; answers the last message. */
async function follow(watch, wanted) {
  for await (const message of watch) {
    if (wanted(message)) {
      watch.cancel();
      return message;
    }
  }
  throw watch.end ?? new Error('a watch does not end by itself');
}

async function main(address) {
  const options = { 'grpc.service_config': CONFIG, 'grpc.initial_reconnect_backoff_ms': 100 };
  const to = (service) => new registry[service](address, grpc.credentials.createInsecure(), options);
  const models = to('ModelService');
  const versions = to('VersionService');
  const artifacts = to('ArtifactService');
  const lifecycle = to('LifecycleService');
  const events = to('EventService');
  const actor = new grpc.Metadata();
  actor.set('x-registry-actor', 'node-example');

  // Create.
  const model_id = `node-${randomUUID().slice(0, 8)}`;
  let model = await ask(models, 'CreateModel', { model_id, model: { team: 'risk' } }, actor);
  assert.equal(model.creator, 'node-example');
  const version = await ask(versions, 'CreateVersion', { parent: model.name, version_id: '1.0', version: { framework: 'xgboost' } });

  // Upload two, and give one up halfway.
  const files = { 'model.bin': Buffer.alloc(5_000_000, 'model'), 'notes.txt': Buffer.from('trained on a Tuesday') };
  for (const [file, data] of Object.entries(files)) {
    const artifact = await upload(artifacts, version.name, file, data);
    assert.equal(artifact.size_bytes, String(data.length));
  }
  await assert.rejects(upload(artifacts, version.name, 'half.bin', files['model.bin'], 2 * PIECE), { code: grpc.status.CANCELLED });

  // Finalize, and watch while it is promoted.
  const sealed = await ask(versions, 'FinalizeVersion', { name: version.name });
  assert.equal(sealed.state, 'VERSION_STATE_READY');
  assert.equal(sealed.artifact_count, '2');
  const wanted = { parent: model.name, types: ['version.stage_transitioned'], after_revision: sealed.revision };
  const watched = follow(begin(events, wanted), (message) => message.response === 'events');
  const promoted = await ask(lifecycle, 'TransitionStage', { name: version.name, stage: 'STAGE_PRODUCTION', comment: 'better recall' });
  const { events: seen } = await watched;
  assert.deepEqual(seen.events.map((event) => event.comment), ['better recall']);
  assert.equal(seen.revision, promoted.revision);
  let cursor = BigInt(seen.revision);

  // Pages.
  const listed = [];
  let page_token = '';
  do {
    const page = await ask(artifacts, 'ListArtifacts', { parent: version.name, page_size: 1, page_token });
    listed.push(...page.artifacts.map((artifact) => artifact.path));
    page_token = page.next_page_token;
  } while (page_token);
  assert.deepEqual(listed, Object.keys(files).sort());

  // A range of bytes.
  const pieces = [];
  const range = { name: `${version.name}/artifacts/model.bin`, offset: 1000, length: 5000 };
  for await (const message of artifacts.DownloadArtifact(range)) pieces.push(message.data);
  assert(Buffer.concat(pieces).equals(files['model.bin'].subarray(1000, 6000)));

  // A typed error.
  const missing = await ask(models, 'GetModel', { name: 'models/none' }).catch((error) => error);
  assert.equal(missing.code, grpc.status.NOT_FOUND);
  assert.equal(reasonOf(missing), 'RESOURCE_NOT_FOUND');

  // A deadline.
  const late = begin(events, { parent: model.name }, { deadline: Date.now() + 500 });
  await assert.rejects(follow(late, () => false), { code: grpc.status.DEADLINE_EXCEEDED });

  // A restart of the server: the watch goes on behind what was seen, and nothing is missed.
  const lines = readline.createInterface({ input: process.stdin });
  const restarted = once(lines, 'line');
  let watch = begin(events, { parent: model.name, after_revision: String(cursor) });
  console.log('restart');
  assert.deepEqual(await restarted, ['restarted']);
  lines.close();
  model = await ask(models, 'GetModel', { name: model.name });
  model = await ask(models, 'UpdateModel', { model: { ...model, description: 'after the restart' } });
  const target = BigInt(model.revision);
  while (cursor < target) {
    try {
      await follow(watch, (message) => {
        const revision = BigInt(message[message.response].revision);
        cursor = revision > cursor ? revision : cursor;
        return cursor >= target;
      });
    } catch (error) {
      assert.equal(error.code, grpc.status.UNAVAILABLE, String(error));
      watch = begin(events, { parent: model.name, after_revision: String(cursor) });
    }
  }
  for (const client of [models, versions, artifacts, lifecycle, events]) client.close();
  console.log('all is well');
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
