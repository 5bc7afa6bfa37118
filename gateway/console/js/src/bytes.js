// @ts-check
/**
 * Bytes as the ledger writes them: hex at the edges, big-endian numbers inside. Numbers above 2^53 are BigInts.
 */

/** What the checks refuse, in words for a reader. */
export class Wrong extends Error {}

/**
 * Bytes from `0x` and hex digits. Wrong unless there are `size` of them, if it is given.
 * @param {string} text
 * @param {number} [size]
 * @returns {Uint8Array}
 */
export function fromHex(text, size) {
  if (typeof text !== 'string' || !/^0x([0-9a-fA-F]{2})*$/.test(text)) throw new Wrong(`${text} is not hex`);
  const bytes = new Uint8Array(text.length / 2 - 1);
  for (let at = 0; at < bytes.length; at++) bytes[at] = parseInt(text.slice(2 + 2 * at, 4 + 2 * at), 16);
  if (size !== undefined && bytes.length !== size) throw new Wrong(`${text} has ${bytes.length} bytes, not ${size}`);
  return bytes;
}

/**
 * `0x` and lowercase hex.
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function toHex(bytes) {
  let text = '0x';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

/**
 * @param {Uint8Array} one
 * @param {Uint8Array} other
 * @returns {boolean}
 */
export function equal(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

/**
 * @param {...Uint8Array} parts
 * @returns {Uint8Array}
 */
export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/**
 * A number as big-endian bytes. Wrong when it does not fit.
 * @param {bigint | number} value
 * @param {number} size bytes
 * @returns {Uint8Array}
 */
export function big(value, size) {
  let rest = BigInt(value);
  const bytes = new Uint8Array(size);
  for (let at = size - 1; at >= 0; at--) {
    bytes[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  if (rest !== 0n) throw new Wrong(`${value} does not fit ${size} bytes`);
  return bytes;
}

/**
 * The number that big-endian bytes are.
 * @param {Uint8Array} bytes
 * @returns {bigint}
 */
export function number(bytes) {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/**
 * One ABI word: a number big endian, shorter bytes at its end.
 * @param {bigint | number | Uint8Array} value
 * @returns {Uint8Array}
 */
export function word(value) {
  return value instanceof Uint8Array ? concat(new Uint8Array(32 - value.length), value) : big(value, 32);
}

/** Reads fields one after the other. Wrong when the bytes end too early. */
export class Reader {
  /**
   * @param {Uint8Array} bytes
   * @param {string} what the thing that is read, for errors
   */
  constructor(bytes, what) {
    this.bytes = bytes;
    this.what = what;
    this.at = 0;
  }

  /**
   * The next bytes, without a copy.
   * @param {number} size
   * @returns {Uint8Array}
   */
  take(size) {
    const end = this.at + size;
    if (end > this.bytes.length) throw new Wrong(`${this.what} end at byte ${this.bytes.length}, before byte ${end}`);
    const part = this.bytes.subarray(this.at, end);
    this.at = end;
    return part;
  }

  /**
   * A number of up to 6 bytes.
   * @param {number} size
   * @returns {number}
   */
  small(size) {
    let value = 0;
    for (const byte of this.take(size)) value = value * 256 + byte;
    return value;
  }

  /**
   * A number of 64 bits.
   * @returns {bigint}
   */
  u64() {
    return number(this.take(8));
  }

  /** Wrong unless everything was read. */
  end() {
    if (this.at !== this.bytes.length) throw new Wrong(`${this.bytes.length - this.at} bytes follow the ${this.what}`);
  }
}
