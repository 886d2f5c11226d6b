/** Holds a workspace to the edges of docs/architecture.md, from its package.json files and its imports. */
import { posix } from 'node:path';
import { commonGround, fits, isNode, type Rule, rulesOf } from './rules.ts';
import type { Import } from './source.ts';
import { type Member, readWorkspace } from './workspace.ts';

/** One edge that may not be. */
export interface Problem {
  /** `path:line` from the workspace's root, or the path of a package.json. */
  readonly at: string;
  /** What is wrong, and what would be right. */
  readonly what: string;
}

/** The package and entry point behind `@faultyard/name/entry`, or `undefined` for any other specifier. */
function scoped(specifier: string): { short: string; entry: string } | undefined {
  const parts = /^@faultyard\/([^/]+)(\/.+)?$/.exec(specifier);
  return parts?.[1] ? { short: parts[1], entry: `.${parts[2] ?? ''}` } : undefined;
}

/** The file a relative import of `from` names, from the workspace's root. */
function relativeTarget(from: string, specifier: string): string {
  return posix.join(posix.dirname(from), specifier);
}

/** The name under which a manifest lists the package a bare specifier belongs to. */
function packageName(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

/** Every problem of the workspace at `root`, in the order of its members and files. */
export function checkEdges(root: string): Problem[] {
  const members = readWorkspace(root);
  const byName = new Map(members.filter((m) => m.entries.size).map((m) => [m.short, m]));
  return members.flatMap((member) => [
    ...(member.folder.startsWith('packages/') ? checkPackage(member, byName) : []),
    ...checkReach(member, members, byName),
  ]);
}

/** What holds for every file: it enters other members by their public entry points, and those it declares. */
function checkReach(
  member: Member,
  members: readonly Member[],
  byName: ReadonlyMap<string, Member>,
): Problem[] {
  const problems: Problem[] = [];
  const { dependencies, devDependencies, peerDependencies } = member.manifest;
  const declared = { ...dependencies, ...devDependencies, ...peerDependencies };
  for (const [path, imports] of member.files) {
    const isSource = path.startsWith(`${member.folder}/src/`);
    for (const { specifier, line } of imports) {
      const report = (what: string): number => problems.push({ at: `${path}:${line}`, what });
      if (specifier.startsWith('.')) {
        const target = relativeTarget(path, specifier);
        const other = members.find(
          (m) => m !== member && m.folder.includes('/') && target.startsWith(`${m.folder}/`),
        );
        if (other) report(`reaches into ${other.folder}: import ${other.manifest.name}`);
        else if (isSource && !target.startsWith(`${member.folder}/src/`))
          report(`${specifier} lies outside its package's src`);
        continue;
      }
      const other = scoped(specifier);
      if (!other) continue;
      if (!byName.get(other.short)?.entries.has(other.entry)) {
        report(`${specifier} is no entry point of a package of this workspace`);
        continue;
      }
      const free = !isSource && commonGround.some((pattern) => fits(other.short, pattern));
      if (other.short !== member.short && !free && !(`@faultyard/${other.short}` in declared))
        report(`${specifier} is imported but not in ${member.folder}/package.json`);
    }
  }
  return problems;
}

/** Files by entry point: what it loads at run time, and what lies in its folder. */
function closures(member: Member): Map<string, Set<string>> {
  const result = new Map<string, Set<string>>();
  const reached = new Set<string>();
  for (const [entry, start] of member.entries) {
    const files = new Set<string>();
    const queue = [start];
    for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
      if (files.has(path)) continue;
      files.add(path);
      reached.add(path);
      for (const { specifier, typeOnly } of member.files.get(path) ?? []) {
        if (typeOnly) continue;
        const self = scoped(specifier);
        if (specifier.startsWith('.')) queue.push(relativeTarget(path, specifier));
        else if (self?.short === member.short) queue.push(member.entries.get(self.entry) ?? path);
      }
    }
    result.set(entry, files);
  }
  const folders = [...member.entries]
    .filter(([entry]) => entry !== '.')
    .map(([entry, file]) => [entry, `${posix.dirname(file)}/`] as const);
  for (const path of member.files.keys()) {
    if (reached.has(path) || !path.startsWith(`${member.folder}/src/`)) continue;
    const entry = folders.find(([, folder]) => path.startsWith(folder))?.[0] ?? '.';
    result.get(entry)?.add(path);
  }
  return result;
}

/** What one import in a file behind `entry` does wrong, if anything. */
function refusal(member: Member, entry: string, rule: Rule, { specifier }: Import): string | undefined {
  const who = entry === '.' ? member.short : `${member.short}/${entry.slice(2)}`;
  if (specifier.startsWith('.')) return undefined;
  if (isNode(specifier))
    return rule.node ? undefined : `${who} runs in browsers too and may not import ${specifier}`;
  const other = scoped(specifier);
  if (!other) {
    const { dependencies, peerDependencies } = member.manifest;
    const name = packageName(specifier);
    if (name in { ...dependencies, ...peerDependencies }) return undefined;
    return `${specifier} is imported but not a dependency in ${member.folder}/package.json`;
  }
  if (other.short === member.short) return undefined;
  if (!rule.packages.some((pattern) => fits(other.short, pattern)))
    return `${who} may import ${rule.packages.join(', ') || 'no other package'}, not ${other.short}`;
  if (rulesOf(other.short)?.[other.entry]?.node && !rule.node)
    return `${who} runs in browsers too and may not import ${specifier}, which needs Node`;
  return undefined;
}

/** What holds for a package: its entry points import what their rules allow, and its peers say so. */
function checkPackage(member: Member, byName: ReadonlyMap<string, Member>): Problem[] {
  const rules = rulesOf(member.short);
  const at = `${member.folder}/package.json`;
  if (!rules) return [{ at, what: `${member.manifest.name} has no place in scripts/edges/rules.ts` }];
  const problems = new Map<string, Problem>();
  const report = (problem: Problem): unknown => problems.set(`${problem.at} ${problem.what}`, problem);
  /** Workspace packages the main entry point cannot be loaded without. */
  const needed = new Set<string>();
  const used = new Set<string>();
  for (const [entry, files] of closures(member)) {
    const rule = rules[entry];
    if (!rule) {
      report({ at, what: `entry point ${entry} has no rule in scripts/edges/rules.ts` });
      continue;
    }
    for (const path of files)
      for (const item of member.files.get(path) ?? []) {
        const what = refusal(member, entry, rule, item);
        if (what) report({ at: `${path}:${item.line}`, what });
        const other = scoped(item.specifier)?.short;
        if (!other || other === member.short || !byName.has(other)) continue;
        used.add(other);
        if (entry === '.' && !item.typeOnly) needed.add(other);
      }
  }
  for (const what of checkPeers(member, rules, used, needed)) report({ at, what });
  return [...problems.values()];
}

/** What the manifest says wrongly about the workspace packages the sources use. */
function checkPeers(
  { manifest }: Member,
  rules: Readonly<Record<string, Rule>>,
  used: ReadonlySet<string>,
  needed: ReadonlySet<string>,
): string[] {
  const wrong: string[] = [];
  const allowed = Object.values(rules).flatMap((rule) => rule.packages);
  const {
    dependencies = {},
    devDependencies = {},
    peerDependencies = {},
    peerDependenciesMeta = {},
  } = manifest;
  for (const name of Object.keys(dependencies))
    if (scoped(name))
      wrong.push(`${name} belongs into peerDependencies, so that a program has one copy of it`);
  for (const [name, range] of Object.entries(peerDependencies)) {
    const short = scoped(name)?.short;
    if (!short) continue;
    if (!allowed.some((pattern) => fits(short, pattern)))
      wrong.push(`${name} may not be a peer of ${manifest.name}`);
    if (range !== 'workspace:^') wrong.push(`the range of ${name} is workspace:^, not ${range}`);
    if (!(name in devDependencies)) wrong.push(`the peer ${name} is missing from devDependencies`);
    if (needed.has(short) && peerDependenciesMeta[name]?.optional)
      wrong.push(`the main entry point does not load without ${name}: it is no optional peer`);
  }
  for (const short of used)
    if (!(`@faultyard/${short}` in peerDependencies))
      wrong.push(`@faultyard/${short} is missing from peerDependencies`);
  return wrong;
}
