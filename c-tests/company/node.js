// Beside node. Usage: node node.js ADDON.node
//
// While goroutines work: JavaScript whose stack is full, WebAssembly that reads
// outside of its memory, which is a fault that V8 turns into an exception,
// files, timers, signals, and a child process.
'use strict';
const assert = require('assert');
const fs = require('fs');
const { spawnSync } = require('child_process');
const addon = require(process.argv[2]);

// (module (memory 1) (func (export "f") (param i32) (result i32)
//   local.get 0  i32.load))
const wasm = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f,
    3, 2, 1, 0,
    5, 3, 1, 0, 1,
    7, 5, 1, 1, 0x66, 0, 0,
    10, 9, 1, 7, 0, 0x20, 0, 0x28, 2, 0, 0x0b,
])));

function deep(n) {
    return deep(n + 1) + 1;
}

function faults() {
    assert.throws(() => deep(0), RangeError);
    assert.strictEqual(wasm.exports.f(0), 0);
    for (let i = 0; i < 1000; i++)
        assert.throws(() => wasm.exports.f(0x7fffffff),
            WebAssembly.RuntimeError);
}

async function main() {
    faults();
    addon.begin();
    let signals = 0;
    process.on('SIGUSR2', () => signals++);
    for (let i = 0; i < 20; i++) {
        faults();
        process.kill(process.pid, 'SIGUSR2');
        await new Promise((resolve) => setTimeout(resolve, 2));
        await fs.promises.readFile(process.argv[1]);
    }
    const child = spawnSync(process.execPath, ['-e', 'process.exit(5)']);
    assert.strictEqual(child.status, 5);
    while (signals === 0)
        await new Promise((resolve) => setTimeout(resolve, 2));
    addon.die();
    assert(addon.end() >= 100);
    faults();
    console.log('both worked');
}

main();
