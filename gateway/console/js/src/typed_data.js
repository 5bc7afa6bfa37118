// @ts-check
/**
 * EIP-712: domains, digests to sign, and who signed one. As in `ledger/core/values/typed_data.py`.
 */
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { utf8ToBytes } from '@noble/hashes/utils.js';
import { Wrong, big, concat, fromHex, number, toHex, word } from './bytes.js';

/** @typedef {{ name: string, version: string, chainId: bigint, verifyingContract: string }} Domain */

/**
 * Keccak-256 of the concatenated parts.
 * @param {...Uint8Array} parts
 * @returns {Uint8Array}
 */
export function keccak(...parts) {
  return keccak_256(parts.length === 1 ? parts[0] : concat(...parts));
}

/**
 * The typehash of an EIP-712 type, or the hash of any text.
 * @param {string} text
 * @returns {Uint8Array}
 */
export function hashOfText(text) {
  return keccak_256(utf8ToBytes(text));
}

const DOMAIN_TYPEHASH = hashOfText(
  'EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)',
);

/**
 * @param {Domain} domain
 * @returns {Uint8Array}
 */
export function separator(domain) {
  const contract = fromHex(domain.verifyingContract, 20);
  const names = [hashOfText(domain.name), hashOfText(domain.version)];
  return keccak(DOMAIN_TYPEHASH, ...names, word(domain.chainId), word(contract));
}

/**
 * keccak256(0x1901 | domain separator | struct hash).
 * @param {Domain} domain
 * @param {Uint8Array} structHash
 * @returns {Uint8Array}
 */
export function signingDigest(domain, structHash) {
  return keccak(big(0x1901, 2), separator(domain), structHash);
}

/**
 * The address that signed a digest, in hex. Wrong unless the signature is r | s | v of 65 bytes, v 27 or 28, s low.
 * @param {Uint8Array} digest
 * @param {Uint8Array} signature
 * @returns {string}
 */
export function recover(digest, signature) {
  if (signature.length !== 65 || (signature[64] !== 27 && signature[64] !== 28)) {
    throw new Wrong(`a signature is 65 bytes r|s|v with v 27 or 28, not ${signature.length} bytes`);
  }
  if (number(signature.subarray(32, 64)) > secp256k1.Point.Fn.ORDER / 2n) {
    throw new Wrong("the signature's s is in the high half of the order: only the low half is valid");
  }
  try {
    const recovered = secp256k1.recoverPublicKey(
      concat(Uint8Array.of(signature[64] - 27), signature.subarray(0, 64)), digest, { prehash: false },
    );
    return addressOf(secp256k1.Point.fromBytes(recovered).toBytes(false));
  } catch (error) {
    throw new Wrong(`this is not a signature of this digest: ${error instanceof Error ? error.message : error}`);
  }
}

/**
 * @param {Uint8Array} uncompressed a public key of 65 bytes
 * @returns {string}
 */
function addressOf(uncompressed) {
  return toHex(keccak(uncompressed.subarray(1)).subarray(12));
}
