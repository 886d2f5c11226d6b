import { describe, expect, test } from 'vitest';
import { commentText, extractDocs } from '../src/help/extract.ts';

const SOURCE = `
/** A thing that counts. See {@link Other}. */
export class Counter {
  /** Where it stands, in ticks. */
  value = 0;
  readonly bare: number = 1;
  #hidden = 2;
  /** Hidden too. */
  private other = 3;
  /**
   * Adds.
   * @throws Never.
   */
  add(n: number = 1): void { this.value += n; }
  /** How often. */
  get often(): number { return 1; }
}

/** Not exported. */
function inner(): void {}

/** Makes one. */
export function make<const T>(of: T): Counter { return new Counter(); }

/** Ten. */
export const TEN: number = 10;

export const UNDOCUMENTED = 1;

declare module '@faultyard/core' {
  interface ExitMap {
    /** KVM_EXIT_TOY. */
    'toy-fault': { readonly gpa: bigint };
  }
}
`;

const docs = extractDocs(SOURCE, 'toy.ts');
const find = (name: string) => docs.find((d) => d.name === name);

describe('documentation out of sources', () => {
  test('exported declarations and public members -> found; private and undocumented ones -> not', () => {
    expect(docs.map((d) => d.name)).toEqual([
      'Counter',
      'Counter.value',
      'Counter.bare',
      'Counter.add',
      'Counter.often',
      'make',
      'TEN',
      'ExitMap.toy-fault',
    ]);
  });
  test('a signature -> one line without the body', () => {
    expect(find('Counter.add')?.signature).toBe('add(n: number = 1): void');
    expect(find('make')?.signature).toBe('function make<const T>(of: T): Counter');
    expect(find('TEN')?.signature).toBe('const TEN: number');
    expect(find('ExitMap.toy-fault')?.signature).toBe("'toy-fault': { readonly gpa: bigint }");
  });
  test('a comment -> its text, links as names, and the line of the declaration', () => {
    expect(find('Counter')?.text).toBe('A thing that counts. See Other.');
    expect(find('Counter.add')?.text).toBe('Adds.\n@throws Never.');
    expect(find('Counter')?.line).toBe(3);
    expect(find('Counter.bare')?.text).toBe('');
  });
  test('stars and indentation -> gone, paragraphs -> kept', () => {
    expect(commentText('*\n   * One.\n   *\n   * Two.\n   ')).toBe('One.\n\nTwo.');
  });
});
