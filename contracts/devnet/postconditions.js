import {
  FungibleConditionCode,
  NonFungibleConditionCode,
  PostConditionMode,
  PostConditionPrincipalId,
  PostConditionType,
  PoxConditionCode,
  addressToString,
  serializeCV,
} from '@stacks/transactions';

/**
 * Post-conditions as the node checks them (SIP-005, with Originator mode, MaybeSent, staking and PoX conditions).
 *
 * @typedef {import('@stacks/transactions').PostConditionWire} PostConditionWire
 * @typedef {import('./vm.js').SimnetEvent} SimnetEvent
 * @typedef {Map<string, Map<string, bigint>>} Amounts principal → asset → amount sent
 * @typedef {Map<string, Map<string, Set<string>>>} Items principal → asset → serialized values sent
 */

/** Key for STX that were sent, beside the fungible tokens' identifiers. */
const STX = 'STX';
/** Key for STX that were burned: covered separately from those sent, as in the node. */
const STX_BURNED = 'STX burned';

/**
 * Why the assets that a transaction moved violate its post-conditions, or null.
 * @param {import('./transaction.js').Transaction} transaction
 * @param {SimnetEvent[]} events
 * @returns {string | null}
 */
export function violation({ wire, origin }, events) {
  const { amounts, items, staked } = movements(events);
  /** @type {Map<string, Set<string>>} */
  const covered = new Map();
  /** @type {Set<string>} */
  const stakingCovered = new Set();
  const cover = (/** @type {string} */ owner, /** @type {string[]} */ assets) => {
    const known = covered.get(owner) ?? new Set();
    assets.forEach((asset) => known.add(asset));
    covered.set(owner, known);
  };

  for (const condition of wire.postConditions.values) {
    const owner = ownerOf(condition.principal, origin);
    switch (condition.conditionType) {
      case PostConditionType.STX: {
        const sent = amounts.get(owner)?.get(STX) ?? 0n;
        const burned = amounts.get(owner)?.get(STX_BURNED) ?? 0n;
        if (!amountHolds(condition.conditionCode, sent + burned, condition.amount)) {
          return `Post-condition check failure on STX owned by ${owner}: ${condition.amount} ${fungibleCode(condition)} ${sent + burned}`;
        }
        cover(owner, [...(sent > 0n ? [STX] : []), ...(burned > 0n ? [STX_BURNED] : [])]);
        break;
      }
      case PostConditionType.Fungible: {
        const asset = assetOf(condition.asset);
        const sent = amounts.get(owner)?.get(asset) ?? 0n;
        if (!amountHolds(condition.conditionCode, sent, condition.amount)) {
          return `Post-condition check failure on fungible asset ${asset} owned by ${owner}: ${condition.amount} ${fungibleCode(condition)} ${sent}`;
        }
        cover(owner, [asset]);
        break;
      }
      case PostConditionType.NonFungible: {
        const asset = assetOf(condition.asset);
        const value = serializeCV(condition.assetName);
        const sent = items.get(owner)?.get(asset) ?? new Set();
        if (!itemHolds(condition.conditionCode, sent.has(value))) {
          return `Post-condition check failure on non-fungible asset ${asset} owned by ${owner}: 0x${value} ${NonFungibleConditionCode[condition.conditionCode]} (sent ${sent.size} value(s))`;
        }
        cover(owner, [`${asset} ${value}`]);
        break;
      }
      case PostConditionType.Staking: {
        const amount = staked.get(owner) ?? 0n;
        if (!amountHolds(condition.conditionCode, amount, condition.amount)) {
          return `Post-condition check failure on STX staked by ${owner}: ${condition.amount} ${fungibleCode(condition)} ${amount}`;
        }
        stakingCovered.add(owner);
        break;
      }
      case PostConditionType.PoX:
        // The simnet does not report PoX actions, so the only one that can be seen is that none was made.
        if (condition.conditionCode === PoxConditionCode.WillPerform) {
          return `Post-condition check failure on PoX action by ${owner}: ${PoxConditionCode[condition.conditionCode]} performed=false`;
        }
        break;
    }
  }

  const enforced = (/** @type {string} */ owner) =>
    wire.postConditionMode === PostConditionMode.Deny ||
    (wire.postConditionMode === PostConditionMode.Originator && owner === origin);
  for (const [owner, assets] of amounts) {
    if (!enforced(owner)) continue;
    for (const asset of assets.keys()) {
      if (!covered.get(owner)?.has(asset))
        return `Post-condition check failure: Fungible asset ${asset} was moved by ${owner} but not checked`;
    }
  }
  for (const [owner, assets] of items) {
    if (!enforced(owner)) continue;
    for (const [asset, values] of assets) {
      for (const value of values) {
        if (!covered.get(owner)?.has(`${asset} ${value}`)) {
          return `Post-condition check failure: Non-fungible asset ${asset} value 0x${value} was moved by ${owner} but not checked`;
        }
      }
    }
  }
  for (const [owner, amount] of staked) {
    if (enforced(owner) && !stakingCovered.has(owner))
      return `Post-condition check failure: ${amount} STX was staked by ${owner} but not checked`;
  }
  return null;
}

/**
 * What left whose hands. A transfer back does not cancel a transfer out, and a mint moves nothing.
 * @param {SimnetEvent[]} events
 */
function movements(events) {
  /** @type {Amounts} */
  const amounts = new Map();
  /** @type {Items} */
  const items = new Map();
  /** @type {Map<string, bigint>} */
  const staked = new Map();
  for (const { event, data } of events) {
    const {
      sender,
      amount,
      asset_identifier: asset,
      raw_value: rawValue,
    } = /** @type {Record<string, string>} */ (data);
    const add = (/** @type {string} */ key) => {
      const sent = amounts.get(sender) ?? new Map();
      sent.set(key, (sent.get(key) ?? 0n) + BigInt(amount));
      amounts.set(sender, sent);
    };
    switch (event) {
      case 'stx_transfer_event':
        add(STX);
        break;
      case 'stx_burn_event':
        add(STX_BURNED);
        break;
      case 'ft_transfer_event':
      case 'ft_burn_event':
        add(asset);
        break;
      case 'nft_transfer_event':
      case 'nft_burn_event': {
        const sent = items.get(sender) ?? new Map();
        sent.set(asset, (sent.get(asset) ?? new Set()).add(rawValue.replace(/^0x/, '')));
        items.set(sender, sent);
        break;
      }
      case 'stx_lock_event': {
        const { locked_address: owner, locked_amount: locked } = /** @type {Record<string, string>} */ (data);
        staked.set(owner, (staked.get(owner) ?? 0n) + BigInt(locked));
        break;
      }
    }
  }
  return { amounts, items, staked };
}

/**
 * @param {import('@stacks/transactions').PostConditionPrincipalWire} principal
 * @param {string} origin
 */
function ownerOf(principal, origin) {
  if (principal.prefix === PostConditionPrincipalId.Origin) return origin;
  const address = addressToString(principal.address);
  return principal.prefix === PostConditionPrincipalId.Contract
    ? `${address}.${principal.contractName.content}`
    : address;
}

/** @param {import('@stacks/transactions').AssetWire} asset */
function assetOf({ address, contractName, assetName }) {
  return `${addressToString(address)}.${contractName.content}::${assetName.content}`;
}

/** @param {{conditionCode: FungibleConditionCode}} condition */
const fungibleCode = ({ conditionCode }) => FungibleConditionCode[conditionCode];

/**
 * @param {FungibleConditionCode} code
 * @param {bigint} sent
 * @param {bigint} amount
 */
function amountHolds(code, sent, amount) {
  switch (code) {
    case FungibleConditionCode.Equal:
      return sent === amount;
    case FungibleConditionCode.Greater:
      return sent > amount;
    case FungibleConditionCode.GreaterEqual:
      return sent >= amount;
    case FungibleConditionCode.Less:
      return sent < amount;
    case FungibleConditionCode.LessEqual:
      return sent <= amount;
  }
}

/**
 * @param {NonFungibleConditionCode} code
 * @param {boolean} sent
 */
function itemHolds(code, sent) {
  switch (code) {
    case NonFungibleConditionCode.Sends:
      return sent;
    case NonFungibleConditionCode.DoesNotSend:
      return !sent;
    case NonFungibleConditionCode.MaybeSent:
      return true;
  }
}
