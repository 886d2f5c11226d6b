// Writes core's version from its package.json into its source, which tells plugins; part of `version-packages`.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const core = join(dirname(dirname(fileURLToPath(import.meta.url))), 'packages', 'core');
const source = join(core, 'src', 'plugin.ts');
const { version }: { version: string } = JSON.parse(readFileSync(join(core, 'package.json'), 'utf8'));
const before = readFileSync(source, 'utf8');
const declaration = /(export const CORE_VERSION: string = ')[^']*(')/;
if (!declaration.test(before)) throw new Error(`${source} declares no CORE_VERSION`);
writeFileSync(source, before.replace(declaration, `$1${version}$2`));
