;; Governance by stake: who stakes the governance token proposes and votes, and what passed is executed by this contract
;; itself, which holds the governance role. A proposal is a list of typed calls; nothing else can be executed.

(use-trait sip010 .bh-traits.token)

;; Bootstrap by somebody without the governance role.
(define-constant ERR-GOV-NOT-GOVERNANCE (err u10001))
;; Second bootstrap.
(define-constant ERR-GOV-BOOTSTRAPPED (err u10002))
;; Not the governance token, or not the token that an action names.
(define-constant ERR-GOV-TOKEN (err u10003))
;; Amount is 0, or above what can exist.
(define-constant ERR-GOV-AMOUNT (err u10004))
;; The governance token's transfer failed or moved another amount.
(define-constant ERR-GOV-TRANSFER (err u10005))
;; Unstaking more than is staked.
(define-constant ERR-STAKE-SHORT (err u10006))
;; The staker's vote on an open proposal stands.
(define-constant ERR-STAKE-LOCKED (err u10007))
;; The proposer's power at the snapshot is below the threshold.
(define-constant ERR-LOW-POWER (err u10008))
;; All stake at the snapshot is below gov-min-stake.
(define-constant ERR-LOW-STAKE (err u10009))
;; Proposal without actions.
(define-constant ERR-NO-ACTIONS (err u10010))
;; Unknown kind of action, or data that is not of its type.
(define-constant ERR-BAD-ACTION (err u10011))
;; No such proposal.
(define-constant ERR-UNKNOWN-PROPOSAL (err u10012))
;; Proposal is not in the state that the step needs.
(define-constant ERR-PROPOSAL-STATE (err u10013))
;; Finalizing before the voting is over.
(define-constant ERR-VOTING-OPEN (err u10014))
;; Voting, or the proposer's cancelling, after the voting.
(define-constant ERR-VOTING-OVER (err u10015))
;; Choice other than for, against and abstain.
(define-constant ERR-BAD-CHOICE (err u10016))
;; Second vote on a proposal.
(define-constant ERR-VOTED (err u10017))
;; Voter without power at the snapshot.
(define-constant ERR-NO-POWER (err u10018))
;; Execution before the timelock is over.
(define-constant ERR-TIMELOCK (err u10019))
;; Execution after the grace period.
(define-constant ERR-GRACE-OVER (err u10020))
;; Expiring a proposal that can still be executed.
(define-constant ERR-GRACE-OPEN (err u10021))
;; Cancelling by neither the proposer of an open proposal nor the guardian of a queued one.
(define-constant ERR-NOT-CANCELLER (err u10022))
;; Execution with another number of tokens than the proposal has actions.
(define-constant ERR-ACTION-COUNT (err u10023))
;; The guardian cancels a proposal that only says who is guardian.
(define-constant ERR-GUARDIAN-BOUND (err u10024))
;; Delegating to whom it is delegated already.
(define-constant ERR-SAME-DELEGATE (err u10025))

;; 100% in basis points.
(define-constant BP u10000)
;; More base units than any token has; keeps sums of stakes far from overflow.
(define-constant MAX-AMOUNT u1000000000000000000000000)
;; Strides of the search through checkpoints: a principal has one per Bitcoin block at most.
(define-constant STRIDES (list
  u8388608 u4194304 u2097152 u1048576 u524288 u262144 u131072 u65536
  u32768 u16384 u8192 u4096 u2048 u1024 u512 u256
  u128 u64 u32 u16 u8 u4 u2 u1
))

;; The governance token and the name of its asset; none before bootstrap.
(define-data-var token-row (optional {token: principal, asset-name: (string-ascii 128)}) none)
;; Number of the last event.
(define-data-var seq uint u0)
;; Number of the last proposal.
(define-data-var last-proposal uint u0)

;; What each staker has staked, in base units.
(define-map stakes principal uint)
;; To whom a staker gave the power of their stake; to themselves where there is no row.
(define-map delegates principal principal)
;; The last Bitcoin height at which a voter's own stake is locked.
(define-map locks principal uint)
;; Voting power from a Bitcoin height on, by principal and number from 1; none is all power together.
(define-map checkpoints
  {who: (optional principal), index: uint}
  {from-burn: uint, power: uint}
)
;; Number of the last checkpoint.
(define-map checkpoint-counts (optional principal) uint)
;; Proposals, with the rules and dates that held when each was made.
(define-map proposals
  uint
  {
    proposer: principal,
    title-hash: (buff 32),
    uri: (string-ascii 128),
    actions: uint,
    about-guardian: bool,
    created-burn: uint,
    snapshot-burn: uint,
    total-power: uint,
    voting-ends-burn: uint,
    eta-burn: uint,
    grace-ends-burn: uint,
    quorum-bp: uint,
    pass-bp: uint,
    for-power: uint,
    against-power: uint,
    abstain-power: uint,
    state: (string-ascii 10),
  }
)
;; What a proposal does: a kind, which is the name of a governance function, and that function's arguments as the
;; consensus bytes of a tuple. Numbered from 0.
(define-map actions
  {proposal: uint, index: uint}
  {kind: (string-ascii 24), data: (buff 2048)}
)
;; Votes.
(define-map votes
  {proposal: uint, voter: principal}
  {choice: (string-ascii 8), power: uint}
)

;; Fields common to all events; counts the event.
(define-private (envelope (topic (string-ascii 40)))
  (let ((number (+ (var-get seq) u1)))
    (var-set seq number)
    {topic: topic, v: u1, seq: number, actor: tx-sender, caller: contract-caller}
  )
)

;; The governance token and the name of its asset.
(define-read-only (get-token)
  (var-get token-row)
)

;; What a principal has staked.
(define-read-only (get-stake (who principal))
  (default-to u0 (map-get? stakes who))
)

;; Who votes with a principal's stake.
(define-read-only (get-delegate (who principal))
  (default-to who (map-get? delegates who))
)

;; The last Bitcoin height at which a voter's own stake is locked.
(define-read-only (get-lock (who principal))
  (default-to u0 (map-get? locks who))
)

;; The last checkpoint of a principal, or of all power together.
(define-private (last-checkpoint (who (optional principal)))
  (default-to {from-burn: u0, power: u0}
    (map-get? checkpoints {who: who, index: (default-to u0 (map-get? checkpoint-counts who))})
  )
)

;; A principal's voting power now; for none, all power.
(define-read-only (get-power (who (optional principal)))
  (get power (last-checkpoint who))
)

;; One stride of the search: forward if the checkpoint there is not after the height.
(define-private (search-step
    (stride uint)
    (found {who: (optional principal), burn: uint, index: uint, power: uint})
  )
  (match (map-get? checkpoints {who: (get who found), index: (+ (get index found) stride)})
    row (if (<= (get from-burn row) (get burn found))
      (merge found {index: (+ (get index found) stride), power: (get power row)})
      found
    )
    found
  )
)

;; A principal's voting power at the end of a Bitcoin height; for none, all power. It is final once the height is over.
(define-read-only (get-power-at (who (optional principal)) (burn uint))
  (get power (fold search-step STRIDES {who: who, burn: burn, index: u0, power: u0}))
)

;; The row of a proposal.
(define-read-only (get-proposal (proposal uint))
  (map-get? proposals proposal)
)

;; An action of a proposal.
(define-read-only (get-action (proposal uint) (index uint))
  (map-get? actions {proposal: proposal, index: index})
)

;; A vote on a proposal.
(define-read-only (get-vote (proposal uint) (voter principal))
  (map-get? votes {proposal: proposal, voter: voter})
)

;; Number of the last proposal.
(define-read-only (get-last-proposal)
  (var-get last-proposal)
)

;; Number of the last event.
(define-read-only (get-seq)
  (var-get seq)
)

;; Writes a principal's power from this Bitcoin height on, and prints it. Who is none for all power together.
(define-private (write-power (who (optional principal)) (power uint))
  (let (
      (count (default-to u0 (map-get? checkpoint-counts who)))
      (last (last-checkpoint who))
      (index (if (and (> count u0) (is-eq (get from-burn last) burn-block-height)) count (+ count u1)))
    )
    (map-set checkpoints {who: who, index: index} {from-burn: burn-block-height, power: power})
    (map-set checkpoint-counts who index)
    (print (merge (envelope "power.changed") {
      who: who,
      index: index,
      from-burn: burn-block-height,
      power-before: (get power last),
      power-after: power,
    }))
    true
  )
)

;; Fails unless the token is the governance token; gives the name of its asset.
(define-private (check-token (token principal))
  (let ((row (unwrap! (var-get token-row) ERR-GOV-TOKEN)))
    (asserts! (is-eq token (get token row)) ERR-GOV-TOKEN)
    (ok (get asset-name row))
  )
)

;; Names the governance token, once, and stands for governance, which nobody can hand over to this contract before.
(define-public (bootstrap (token principal) (asset-name (string-ascii 128)))
  (begin
    (asserts! (contract-call? .bh-registry has-role "governance" contract-caller) ERR-GOV-NOT-GOVERNANCE)
    (asserts! (is-none (var-get token-row)) ERR-GOV-BOOTSTRAPPED)
    (var-set token-row (some {token: token, asset-name: asset-name}))
    (print (merge (envelope "governance.begun") {token: token, asset-name: asset-name}))
    (contract-call? .bh-registry stand-for-governance)
  )
)

;; Takes governance tokens in; their power goes to the staker's delegate.
(define-public (stake (token <sip010>) (amt uint))
  (let (
      (token-id (contract-of token))
      (asset-name (try! (check-token token-id)))
      (staker contract-caller)
      (before (get-stake staker))
      (delegate (some (get-delegate staker)))
      (native (is-eq token-id .bh-stx))
    )
    (asserts! (and (> amt u0) (<= amt MAX-AMOUNT) (<= (+ (get-power none) amt) MAX-AMOUNT)) ERR-GOV-AMOUNT)
    (map-set stakes staker (+ before amt))
    (print (merge (envelope "stake.added") {
      staker: staker,
      token: token-id,
      amt: amt,
      stake-before: before,
      stake-after: (+ before amt),
    }))
    (write-power delegate (+ (get-power delegate) amt))
    (write-power none (+ (get-power none) amt))
    (ok (unwrap!
      (restrict-assets? staker
        (
          (with-stx (if native amt u0))
          (with-ft token-id asset-name amt)
        )
        (unwrap! (contract-call? token transfer amt staker current-contract none) ERR-GOV-TRANSFER)
      )
      ERR-GOV-TRANSFER
    ))
  )
)

;; Gives staked tokens back, once the voting on every proposal that the staker voted on is over.
(define-public (unstake (token <sip010>) (amt uint))
  (let (
      (token-id (contract-of token))
      (asset-name (try! (check-token token-id)))
      (staker contract-caller)
      (before (get-stake staker))
      (delegate (some (get-delegate staker)))
      (native (is-eq token-id .bh-stx))
    )
    (asserts! (> amt u0) ERR-GOV-AMOUNT)
    (asserts! (<= amt before) ERR-STAKE-SHORT)
    (asserts! (> burn-block-height (get-lock staker)) ERR-STAKE-LOCKED)
    (map-set stakes staker (- before amt))
    (print (merge (envelope "stake.removed") {
      staker: staker,
      token: token-id,
      amt: amt,
      stake-before: before,
      stake-after: (- before amt),
    }))
    (write-power delegate (- (get-power delegate) amt))
    (write-power none (- (get-power none) amt))
    (ok (unwrap!
      (as-contract?
        (
          (with-stx (if native amt u0))
          (with-ft token-id asset-name amt)
        )
        (unwrap! (contract-call? token transfer amt current-contract staker none) ERR-GOV-TRANSFER)
      )
      ERR-GOV-TRANSFER
    ))
  )
)

;; Gives the power of the caller's stake to somebody, or back to the caller. Power that others gave the caller stays
;; with the caller: it is never passed on, so there are no chains and no loops.
(define-public (delegate-to (to principal))
  (let (
      (staker contract-caller)
      (from (get-delegate staker))
      (amt (get-stake staker))
    )
    (asserts! (not (is-eq from to)) ERR-SAME-DELEGATE)
    (map-set delegates staker to)
    (print (merge (envelope "delegation.set") {staker: staker, from: from, to: to, amt: amt}))
    (write-power (some from) (- (get-power (some from)) amt))
    (write-power (some to) (+ (get-power (some to)) amt))
    (ok true)
  )
)

;; What follows is one function per kind of action. Each reads the action's data as the arguments of the function that the
;; kind is named after; without a proposal it only checks that they can be read, with one it makes the call.

;; set-params: changes parameters within their bounds.
(define-private (act-set-params (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? (list 24 {key: (string-ascii 24), value: uint}) data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-params set-params row proposal)
    )
  )
)

;; add-param: adds a parameter.
(define-private (act-add-param (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap!
      (from-consensus-buff?
        {key: (string-ascii 24), kind: (string-ascii 8), value: uint, min: uint, max: uint}
        data
      )
      ERR-BAD-ACTION
    )))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-params add-param
        (get key row)
        (get kind row)
        (get value row)
        (get min row)
        (get max row)
        proposal
      )
    )
  )
)

;; set-flag: sets governance's half of a switch.
(define-private (act-set-flag (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {name: (string-ascii 16), on: bool} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-params set-flag (get name row) (get on row) proposal)
    )
  )
)

;; add-switch: adds a switch.
(define-private (act-add-switch (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {name: (string-ascii 16)} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-params add-switch (get name row) proposal)
    )
  )
)

;; reset-breaker: resets a breaker.
(define-private (act-reset-breaker (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {name: (string-ascii 16)} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-params reset-breaker (get name row) proposal)
    )
  )
)

;; set-metric: sets a metric's limit and breaker.
(define-private (act-set-metric (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap!
      (from-consensus-buff?
        {name: (string-ascii 24), module: (string-ascii 16), limit: uint, breaker: (string-ascii 16)}
        data
      )
      ERR-BAD-ACTION
    )))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-params set-metric
        (get name row)
        (get module row)
        (get limit row)
        (get breaker row)
        proposal
      )
    )
  )
)

;; set-tier: adds or changes a risk tier.
(define-private (act-set-tier (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap!
      (from-consensus-buff?
        {
          name: (string-ascii 16),
          row: {
            strike-min-bp: uint,
            strike-max-bp: uint,
            max-duration-burn: uint,
            premium-mult-bp: uint,
            ratio-min-bp: uint,
            ratio-warn-bp: uint,
            max-policy-bp: uint,
            max-expiry-bp: uint,
            active: bool,
          },
        }
        data
      )
      ERR-BAD-ACTION
    )))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-params set-tier (get name row) (get row row) proposal)
    )
  )
)

;; set-token: adds or changes a collateral token.
(define-private (act-set-token (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap!
      (from-consensus-buff?
        {
          token: principal,
          row: {
            asset: (string-ascii 12),
            asset-name: (string-ascii 128),
            native: bool,
            decimals: uint,
            haircut-bp: uint,
            cap: uint,
            active: bool,
          },
        }
        data
      )
      ERR-BAD-ACTION
    )))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-params set-token (get token row) (get row row) proposal)
    )
  )
)

;; set-fees: sets the shares of a premium.
(define-private (act-set-fees (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {provider-bp: uint, platform-bp: uint, reserve-bp: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-params set-fees
        (get provider-bp row)
        (get platform-bp row)
        (get reserve-bp row)
        proposal
      )
    )
  )
)

;; register-module: announces a version of a module.
(define-private (act-register-module (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap!
      (from-consensus-buff?
        {module: (string-ascii 16), version: uint, contract: principal, code-hash: (buff 32)}
        data
      )
      ERR-BAD-ACTION
    )))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-registry register-module
        (get module row)
        (get version row)
        (get contract row)
        (get code-hash row)
      )
    )
  )
)

;; activate-module: makes an announced version the active one.
(define-private (act-activate-module (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {module: (string-ascii 16), version: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-registry activate-module (get module row) (get version row))
    )
  )
)

;; deprecate-module: ends an announced or draining version.
(define-private (act-deprecate-module (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {module: (string-ascii 16), version: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-registry deprecate-module (get module row) (get version row))
    )
  )
)

;; begin-migration: begins the copy into an announced version.
(define-private (act-begin-migration (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {module: (string-ascii 16), version: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (ok (> (try! (contract-call? .bh-registry begin-migration (get module row) (get version row))) u0))
    )
  )
)

;; finish-migration: ends a copy at its hash.
(define-private (act-finish-migration (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {migration: uint, hash: (buff 32)} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-registry finish-migration (get migration row) (get hash row))
    )
  )
)

;; grant-role: grants a role.
(define-private (act-grant-role (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap!
      (from-consensus-buff?
        {role: (string-ascii 16), who: principal, until-burn: (optional uint)}
        data
      )
      ERR-BAD-ACTION
    )))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-registry grant-role (get role row) (get who row) (get until-burn row))
    )
  )
)

;; revoke-role: takes a role away.
(define-private (act-revoke-role (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {role: (string-ascii 16), who: principal} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-registry revoke-role (get role row) (get who row))
    )
  )
)

;; handover: passes governance on, to the contract that replaces this one.
(define-private (act-handover (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {to: principal} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-registry handover (get to row))
    )
  )
)

;; set-provider: sets an oracle provider's weight.
(define-private (act-set-provider (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {provider: principal, weight: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-oracle set-provider (get provider row) (get weight row))
    )
  )
)

;; set-asset: adds or changes a price feed.
(define-private (act-set-asset (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap!
      (from-consensus-buff?
        {asset: (string-ascii 12), insurable: bool, reference-usd8: uint, active: bool}
        data
      )
      ERR-BAD-ACTION
    )))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-oracle set-asset
        (get asset row)
        (get insurable row)
        (get reference-usd8 row)
        (get active row)
      )
    )
  )
)

;; cancel-fallback: cancels an announced fallback price.
(define-private (act-cancel-fallback (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {asset: (string-ascii 12)} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-oracle cancel-fallback (get asset row))
    )
  )
)

;; set-allocations: sets who gets which share of the platform's fees.
(define-private (act-set-allocations (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap!
      (from-consensus-buff?
        (list 10 {name: (string-ascii 16), receiver: principal, share-bp: uint})
        data
      )
      ERR-BAD-ACTION
    )))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-treasury set-allocations row proposal)
    )
  )
)

;; set-discount: sets a user's discount on the platform's fee.
(define-private (act-set-discount (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {user: principal, bp: uint, until-burn: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-treasury set-discount (get user row) (get bp row) (get until-burn row) proposal)
    )
  )
)

;; fund-program: gives a reward programme a part of the treasury's own share.
(define-private (act-fund-program (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {program: uint, token: principal, amt: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-treasury fund-program (get program row) (get token row) (get amt row) proposal)
    )
  )
)

;; unfund-program: gives what a reward programme has not drawn back to the treasury's own share.
(define-private (act-unfund-program (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {program: uint, token: principal} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-treasury unfund-program (get program row) (get token row) proposal)
    )
  )
)

;; pass-on-fees: sends a replaced treasury's money to its successor. The token that the execution brings must be the one
;; that was voted on.
(define-private (act-pass-on-fees (data (buff 2048)) (proposal (optional uint)) (token <sip010>))
  (let ((row (unwrap! (from-consensus-buff? {token: principal} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (begin
        (asserts! (is-eq (contract-of token) (get token row)) ERR-GOV-TOKEN)
        (contract-call? .bh-treasury pass-on-fees token proposal)
      )
    )
  )
)

;; pass-on-capital: sends a replaced fund's money to its successor, in the token that was voted on.
(define-private (act-pass-on-capital (data (buff 2048)) (proposal (optional uint)) (token <sip010>))
  (let ((row (unwrap! (from-consensus-buff? {token: principal} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (begin
        (asserts! (is-eq (contract-of token) (get token row)) ERR-GOV-TOKEN)
        (contract-call? .bh-fund pass-on-capital token proposal)
      )
    )
  )
)

;; set-coverage: sets what the insurance fund still covers of a tier.
(define-private (act-set-coverage (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap!
      (from-consensus-buff?
        {tier: (string-ascii 16), token: principal, left: uint, max-liability-usd8: uint}
        data
      )
      ERR-BAD-ACTION
    )))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-fund set-coverage
        (get tier row)
        (get token row)
        (get left row)
        (get max-liability-usd8 row)
        proposal
      )
    )
  )
)

;; start-recovery: starts a plan to refill the insurance fund.
(define-private (act-start-recovery (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {token: principal, target: uint, duration-burn: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (ok (> (try! (contract-call? .bh-fund start-recovery
        (get token row)
        (get target row)
        (get duration-burn row)
        proposal
      )) u0))
    )
  )
)

;; create-program: creates a reward programme.
(define-private (act-create-program (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap!
      (from-consensus-buff?
        {
          token: principal,
          terms: {
            start-burn: uint,
            epoch-burn: uint,
            epochs: uint,
            epoch-cap: uint,
            premium-bp: uint,
            vesting-burn: uint,
            claim-burn: uint,
          },
        }
        data
      )
      ERR-BAD-ACTION
    )))
    (if (is-none proposal)
      (ok true)
      (ok (> (try! (contract-call? .bh-incentives create-program (get token row) (get terms row) proposal)) u0))
    )
  )
)

;; void-root: voids a reward root that is still challengeable.
(define-private (act-void-root (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {program: uint, epoch: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-incentives void-root (get program row) (get epoch row) proposal)
    )
  )
)

;; end-program: ends a reward programme.
(define-private (act-end-program (data (buff 2048)) (proposal (optional uint)))
  (let ((row (unwrap! (from-consensus-buff? {program: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (contract-call? .bh-incentives end-program (get program row) proposal)
    )
  )
)

;; spend: pays out of the treasury's own share. The token that the execution brings must be the one that was voted on.
(define-private (act-spend (data (buff 2048)) (proposal (optional uint)) (token <sip010>))
  (let ((row (unwrap! (from-consensus-buff? {token: principal, to: principal, amt: uint} data) ERR-BAD-ACTION)))
    (if (is-none proposal)
      (ok true)
      (begin
        (asserts! (is-eq (contract-of token) (get token row)) ERR-GOV-TOKEN)
        (contract-call? .bh-treasury spend token (get to row) (get amt row) proposal)
      )
    )
  )
)

;; Checks an action, or makes its call for a proposal: actions on the parameters' contract, or the next group's.
(define-private (act-params
    (kind (string-ascii 24))
    (data (buff 2048))
    (proposal (optional uint))
    (token <sip010>)
  )
  (if (is-eq kind "set-params") (act-set-params data proposal)
  (if (is-eq kind "add-param") (act-add-param data proposal)
  (if (is-eq kind "set-flag") (act-set-flag data proposal)
  (if (is-eq kind "add-switch") (act-add-switch data proposal)
  (if (is-eq kind "reset-breaker") (act-reset-breaker data proposal)
  (if (is-eq kind "set-metric") (act-set-metric data proposal)
  (if (is-eq kind "set-tier") (act-set-tier data proposal)
  (if (is-eq kind "set-token") (act-set-token data proposal)
  (if (is-eq kind "set-fees") (act-set-fees data proposal)
  (act-registry kind data proposal token)
  )))))))))
)

;; Actions on the registry, or the next group's.
(define-private (act-registry
    (kind (string-ascii 24))
    (data (buff 2048))
    (proposal (optional uint))
    (token <sip010>)
  )
  (if (is-eq kind "register-module") (act-register-module data proposal)
  (if (is-eq kind "activate-module") (act-activate-module data proposal)
  (if (is-eq kind "deprecate-module") (act-deprecate-module data proposal)
  (if (is-eq kind "begin-migration") (act-begin-migration data proposal)
  (if (is-eq kind "finish-migration") (act-finish-migration data proposal)
  (if (is-eq kind "grant-role") (act-grant-role data proposal)
  (if (is-eq kind "revoke-role") (act-revoke-role data proposal)
  (if (is-eq kind "handover") (act-handover data proposal)
  (act-oracle kind data proposal token)
  ))))))))
)

;; Actions on the oracle, or the next group's.
(define-private (act-oracle
    (kind (string-ascii 24))
    (data (buff 2048))
    (proposal (optional uint))
    (token <sip010>)
  )
  (if (is-eq kind "set-provider") (act-set-provider data proposal)
  (if (is-eq kind "set-asset") (act-set-asset data proposal)
  (if (is-eq kind "cancel-fallback") (act-cancel-fallback data proposal)
  (act-treasury kind data proposal token)
  )))
)

;; Actions on the treasury, or the next group's.
(define-private (act-treasury
    (kind (string-ascii 24))
    (data (buff 2048))
    (proposal (optional uint))
    (token <sip010>)
  )
  (if (is-eq kind "set-allocations") (act-set-allocations data proposal)
  (if (is-eq kind "set-discount") (act-set-discount data proposal)
  (if (is-eq kind "fund-program") (act-fund-program data proposal)
  (if (is-eq kind "unfund-program") (act-unfund-program data proposal)
  (if (is-eq kind "spend") (act-spend data proposal token)
  (if (is-eq kind "pass-on-fees") (act-pass-on-fees data proposal token)
  (act-fund kind data proposal token)
  ))))))
)

;; Actions on the insurance fund, or the next group's.
(define-private (act-fund
    (kind (string-ascii 24))
    (data (buff 2048))
    (proposal (optional uint))
    (token <sip010>)
  )
  (if (is-eq kind "set-coverage") (act-set-coverage data proposal)
  (if (is-eq kind "start-recovery") (act-start-recovery data proposal)
  (if (is-eq kind "pass-on-capital") (act-pass-on-capital data proposal token)
  (act-incentives kind data proposal token)
  )))
)

;; Actions on the reward programmes; no other kind exists.
(define-private (act-incentives
    (kind (string-ascii 24))
    (data (buff 2048))
    (proposal (optional uint))
    (token <sip010>)
  )
  (if (is-eq kind "create-program") (act-create-program data proposal)
  (if (is-eq kind "void-root") (act-void-root data proposal)
  (if (is-eq kind "end-program") (act-end-program data proposal)
  ERR-BAD-ACTION
  )))
)

;; Whether an action only says who is guardian.
(define-private (is-about-guardian (kind (string-ascii 24)) (data (buff 2048)))
  (or
    (and
      (is-eq kind "revoke-role")
      (is-eq (some "guardian")
        (get role (from-consensus-buff? {role: (string-ascii 16), who: principal} data))
      )
    )
    (and
      (is-eq kind "grant-role")
      (is-eq (some "guardian")
        (get role (from-consensus-buff?
          {role: (string-ascii 16), who: principal, until-burn: (optional uint)}
          data
        ))
      )
    )
  )
)

;; Checks an action of a new proposal, writes it and prints it, unless one before it failed.
(define-private (add-action
    (action {kind: (string-ascii 24), data: (buff 2048)})
    (state {proposal: uint, index: uint, about-guardian: bool, result: (response bool uint)})
  )
  (match (get result state)
    done (match (act-params (get kind action) (get data action) none .bh-stx)
      valid (begin
        (map-set actions {proposal: (get proposal state), index: (get index state)} action)
        (print (merge (merge (envelope "action.added") action) {
          proposal: (get proposal state),
          index: (get index state),
        }))
        (merge state {
          index: (+ (get index state) u1),
          about-guardian: (and (get about-guardian state) (is-about-guardian (get kind action) (get data action))),
        })
      )
      code (merge state {result: (err code)})
    )
    code state
  )
)

;; Proposes actions to be executed together. The snapshot is the Bitcoin block before this one, so that nobody's power can
;; change any more; the rules and dates are those of now. Until vote's end the proposer can cancel it. Gives its number.
(define-public (propose
    (title-hash (buff 32))
    (uri (string-ascii 128))
    (items (list 8 {kind: (string-ascii 24), data: (buff 2048)}))
  )
  (let (
      (proposal (+ (var-get last-proposal) u1))
      (proposer contract-caller)
      (snapshot (- burn-block-height u1))
      (total (get-power-at none snapshot))
      (power (get-power-at (some proposer) snapshot))
      (threshold-bp (try! (contract-call? .bh-params get-param "gov-threshold-bp")))
      (voting-ends (+ burn-block-height (try! (contract-call? .bh-params get-param "gov-voting-period"))))
      (timelock (try! (contract-call? .bh-params get-param "gov-timelock")))
      (way-out (* u2 (try! (contract-call? .bh-params get-param "withdrawal-delay"))))
      (eta (+ voting-ends (if (> way-out timelock) way-out timelock)))
      (written (begin
        (asserts! (>= total (try! (contract-call? .bh-params get-param "gov-min-stake"))) ERR-LOW-STAKE)
        (asserts! (>= (* power BP) (* threshold-bp total)) ERR-LOW-POWER)
        (asserts! (> (len items) u0) ERR-NO-ACTIONS)
        (fold add-action items {proposal: proposal, index: u0, about-guardian: true, result: (ok true)})
      ))
      (row {
        proposer: proposer,
        title-hash: title-hash,
        uri: uri,
        actions: (len items),
        about-guardian: (get about-guardian written),
        created-burn: burn-block-height,
        snapshot-burn: snapshot,
        total-power: total,
        voting-ends-burn: voting-ends,
        eta-burn: eta,
        grace-ends-burn: (+ eta (try! (contract-call? .bh-params get-param "gov-grace"))),
        quorum-bp: (try! (contract-call? .bh-params get-param "gov-quorum-bp")),
        pass-bp: (try! (contract-call? .bh-params get-param "gov-pass-bp")),
        for-power: u0,
        against-power: u0,
        abstain-power: u0,
        state: "active",
      })
    )
    (try! (get result written))
    (map-set proposals proposal row)
    (var-set last-proposal proposal)
    (print (merge (merge (envelope "proposal.created") row) {proposal: proposal}))
    (ok proposal)
  )
)

;; Votes with the power that the caller had at the proposal's snapshot. The caller's own stake stays until the voting is
;; over.
(define-public (vote (proposal uint) (choice (string-ascii 8)))
  (let (
      (row (unwrap! (map-get? proposals proposal) ERR-UNKNOWN-PROPOSAL))
      (voter contract-caller)
      (power (get-power-at (some voter) (get snapshot-burn row)))
      (locked (get-lock voter))
      (ends (get voting-ends-burn row))
      (until (if (> ends locked) ends locked))
      (is-for (is-eq choice "for"))
      (is-against (is-eq choice "against"))
      (is-abstain (is-eq choice "abstain"))
      (for-power (+ (get for-power row) (if is-for power u0)))
      (against-power (+ (get against-power row) (if is-against power u0)))
      (abstain-power (+ (get abstain-power row) (if is-abstain power u0)))
    )
    (asserts! (is-eq (get state row) "active") ERR-PROPOSAL-STATE)
    (asserts! (<= burn-block-height ends) ERR-VOTING-OVER)
    (asserts! (or is-for is-against is-abstain) ERR-BAD-CHOICE)
    (asserts! (> power u0) ERR-NO-POWER)
    (asserts! (map-insert votes {proposal: proposal, voter: voter} {choice: choice, power: power}) ERR-VOTED)
    (map-set locks voter until)
    (map-set proposals proposal
      (merge row {for-power: for-power, against-power: against-power, abstain-power: abstain-power})
    )
    (print (merge (envelope "vote.cast") {
      proposal: proposal,
      voter: voter,
      choice: choice,
      power: power,
      locked-until-burn: until,
      for-after: for-power,
      against-after: against-power,
      abstain-after: abstain-power,
    }))
    (ok true)
  )
)

;; Ends the voting: true queues the proposal for its execution from eta-burn on, false is its defeat. Votes cast must
;; reach the quorum of all power at the snapshot, and votes for the share of those for and against.
(define-public (finalize (proposal uint))
  (let (
      (row (unwrap! (map-get? proposals proposal) ERR-UNKNOWN-PROPOSAL))
      (decided (+ (get for-power row) (get against-power row)))
      (cast (+ decided (get abstain-power row)))
      (passed (and
        (> (get for-power row) u0)
        (>= (* cast BP) (* (get quorum-bp row) (get total-power row)))
        (>= (* (get for-power row) BP) (* (get pass-bp row) decided))
      ))
      (state (if passed "queued" "defeated"))
    )
    (asserts! (is-eq (get state row) "active") ERR-PROPOSAL-STATE)
    (asserts! (> burn-block-height (get voting-ends-burn row)) ERR-VOTING-OPEN)
    (map-set proposals proposal (merge row {state: state}))
    (print (merge (envelope "proposal.finalized") {
      proposal: proposal,
      state: state,
      for-power: (get for-power row),
      against-power: (get against-power row),
      abstain-power: (get abstain-power row),
      eta-burn: (get eta-burn row),
      grace-ends-burn: (get grace-ends-burn row),
    }))
    (ok passed)
  )
)

;; Makes one call of a proposal, unless one before it failed.
(define-private (execute-action
    (token <sip010>)
    (state {proposal: uint, index: uint, result: (response bool uint)})
  )
  (let ((key {proposal: (get proposal state), index: (get index state)}))
    (merge state {
      index: (+ (get index state) u1),
      result: (match (get result state)
        done (match (map-get? actions key)
          action (act-params (get kind action) (get data action) (some (get proposal state)) token)
          ERR-BAD-ACTION
        )
        code (err code)
      ),
    })
  )
)

;; Executes a queued proposal between its eta and the end of its grace period: every action, or none. One token per
;; action; only those that move one look at it.
(define-public (execute (proposal uint) (tokens (list 8 <sip010>)))
  (let ((row (unwrap! (map-get? proposals proposal) ERR-UNKNOWN-PROPOSAL)))
    (asserts! (is-eq (get state row) "queued") ERR-PROPOSAL-STATE)
    (asserts! (>= burn-block-height (get eta-burn row)) ERR-TIMELOCK)
    (asserts! (<= burn-block-height (get grace-ends-burn row)) ERR-GRACE-OVER)
    (asserts! (is-eq (len tokens) (get actions row)) ERR-ACTION-COUNT)
    (map-set proposals proposal (merge row {state: "executed"}))
    (print (merge (envelope "proposal.executed") {proposal: proposal, actions: (get actions row)}))
    (get result (fold execute-action tokens {proposal: proposal, index: u0, result: (ok true)}))
  )
)

;; Ends a queued proposal that nobody executed in time.
(define-public (expire (proposal uint))
  (let ((row (unwrap! (map-get? proposals proposal) ERR-UNKNOWN-PROPOSAL)))
    (asserts! (is-eq (get state row) "queued") ERR-PROPOSAL-STATE)
    (asserts! (> burn-block-height (get grace-ends-burn row)) ERR-GRACE-OPEN)
    (map-set proposals proposal (merge row {state: "expired"}))
    (print (merge (envelope "proposal.expired") {proposal: proposal}))
    (ok true)
  )
)

;; Ends a proposal before its time: the proposer while it is voted on, the guardian while it is queued. The guardian cannot
;; cancel a proposal that only says who is guardian.
(define-public (cancel (proposal uint))
  (let (
      (row (unwrap! (map-get? proposals proposal) ERR-UNKNOWN-PROPOSAL))
      (state (get state row))
      (is-open (is-eq state "active"))
      (is-proposer (is-eq contract-caller (get proposer row)))
      (is-guardian (contract-call? .bh-registry has-role "guardian" contract-caller))
    )
    (asserts! (or is-open (is-eq state "queued")) ERR-PROPOSAL-STATE)
    (asserts! (if is-open is-proposer is-guardian) ERR-NOT-CANCELLER)
    (asserts! (or (not is-open) (<= burn-block-height (get voting-ends-burn row))) ERR-VOTING-OVER)
    (asserts! (or is-open (not (get about-guardian row))) ERR-GUARDIAN-BOUND)
    (map-set proposals proposal (merge row {state: "cancelled"}))
    (print (merge (envelope "proposal.cancelled") {proposal: proposal, from-state: state}))
    (ok true)
  )
)
