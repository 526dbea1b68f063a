/**
 * Clarity values as source text, and whether a value fits a type of a contract's interface.
 *
 * @typedef {import('@stacks/transactions').ClarityValue} ClarityValue
 * @typedef {import('@stacks/transactions').ClarityAbiType} ClarityAbiType
 */

/** @type {Record<string, string>} */
const ASCII_ESCAPES = { '"': '\\"', '\\': '\\\\', '\n': '\\n', '\t': '\\t', '\r': '\\r', '\0': '\\0' };

/**
 * Source text that evaluates to the value.
 * @param {ClarityValue} value
 * @returns {string}
 */
export function toSource(value) {
  switch (value.type) {
    case 'int':
      return String(value.value);
    case 'uint':
      return `u${value.value}`;
    case 'true':
    case 'false':
    case 'none':
      return value.type;
    case 'buffer':
      return `0x${value.value}`;
    case 'address':
    case 'contract':
      return `'${value.value}`;
    case 'some':
    case 'ok':
    case 'err':
      return `(${value.type} ${toSource(value.value)})`;
    case 'list':
      return `(list ${value.value.map(toSource).join(' ')})`;
    case 'tuple':
      return `{${Object.entries(value.value)
        .map(([name, field]) => `${name}: ${toSource(field)}`)
        .join(', ')}}`;
    case 'ascii':
      return `"${value.value.replace(/["\\\n\t\r\0]/g, (char) => ASCII_ESCAPES[char])}"`;
    case 'utf8':
      return `u"${[...value.value].map((char) => (/^[ !#-[\]-~]$/.test(char) ? char : `\\u{${/** @type {number} */ (char.codePointAt(0)).toString(16)}}`)).join('')}"`;
    default:
      throw new TypeError(`no source text for a Clarity value of type ${/** @type {{type: string}} */ (value).type}`);
  }
}

/**
 * Whether a function that takes `type` accepts `value`.
 * @param {ClarityAbiType} type
 * @param {ClarityValue} value
 * @returns {boolean}
 */
export function admits(type, value) {
  if (typeof type === 'string') {
    switch (type) {
      case 'uint128':
        return value.type === 'uint';
      case 'int128':
        return value.type === 'int';
      case 'bool':
        return value.type === 'true' || value.type === 'false';
      case 'principal':
        return value.type === 'address' || value.type === 'contract';
      case 'trait_reference':
        return value.type === 'contract';
      default:
        return false;
    }
  }
  if ('buffer' in type) return value.type === 'buffer' && value.value.length / 2 <= type.buffer.length;
  if ('string-ascii' in type) return value.type === 'ascii' && value.value.length <= type['string-ascii'].length;
  if ('string-utf8' in type) return value.type === 'utf8' && [...value.value].length <= type['string-utf8'].length;
  if ('optional' in type) return value.type === 'none' || (value.type === 'some' && admits(type.optional, value.value));
  if ('response' in type) {
    return (
      (value.type === 'ok' && admits(type.response.ok, value.value)) ||
      (value.type === 'err' && admits(type.response.error, value.value))
    );
  }
  if ('list' in type) {
    return (
      value.type === 'list' &&
      value.value.length <= type.list.length &&
      value.value.every((item) => admits(type.list.type, item))
    );
  }
  if (value.type !== 'tuple') return false;
  const fields = value.value;
  return (
    type.tuple.length === Object.keys(fields).length &&
    type.tuple.every(({ name, type: field }) => name in fields && admits(field, fields[name]))
  );
}
