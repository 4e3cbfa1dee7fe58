// Reads the files that a scan has named, so that they count as used. None of them is executed: many a module begins to
// serve, or to write, when it is loaded.
//
// Reads lines of two fields, separated by a tab: `file` and its path. Writes one JSON object per line.
'use strict';
const fs = require('fs');

for (const line of fs.readFileSync(0, 'utf8').split('\n')) {
  const [kind, name] = line.split('\t');
  if (kind !== 'file') continue;
  const result = { item: kind + ' ' + name, ok: true };
  try {
    fs.realpathSync(name);
    fs.closeSync(fs.openSync(name, 'r'));
  } catch (error) {
    result.ok = false;
    result.error = String(error.message);
  }
  fs.writeSync(1, JSON.stringify(result) + '\n');
}
