;; Custody of every token: providers' capital in risk tiers, collateral locked for policies, premiums until they are
;; earned, yield until it is claimed, fees until they are collected. Only a provider withdraws their capital, and only the
;; policy module that locked collateral can pay it out.

(use-trait sip010 .bh-traits.token)

;; Token not in the token table, or not active for what adds capital.
(define-constant ERR-UNKNOWN-TOKEN (err u5001))
;; No such tier, or not active.
(define-constant ERR-UNKNOWN-TIER (err u5002))
;; Amount is zero.
(define-constant ERR-ZERO-AMOUNT (err u5003))
;; Switch deposit is off.
(define-constant ERR-DEPOSIT-CLOSED (err u5004))
;; Switch withdraw is off.
(define-constant ERR-WITHDRAW-CLOSED (err u5005))
;; Deposit above the token's cap.
(define-constant ERR-TOKEN-CAP (err u5006))
;; Not enough free capital in the position.
(define-constant ERR-AVAILABLE (err u5007))
;; No such withdrawal request.
(define-constant ERR-UNKNOWN-REQUEST (err u5008))
;; Somebody else's withdrawal request.
(define-constant ERR-NOT-REQUESTER (err u5009))
;; Request's delay is not over.
(define-constant ERR-WITHDRAW-DELAY (err u5010))
;; Position would be below its tier's ratio.
(define-constant ERR-HEALTH (err u5011))
;; Token argument is not the row's token.
(define-constant ERR-WRONG-TOKEN (err u5012))
;; Nothing to claim.
(define-constant ERR-NO-YIELD (err u5013))
;; Caller is not the policy module in charge.
(define-constant ERR-NOT-POLICY-MODULE (err u5014))
;; Policy id already has a lock.
(define-constant ERR-LOCKED (err u5015))
;; Policy has no lock.
(define-constant ERR-NO-LOCK (err u5016))
;; Provider takes no policies.
(define-constant ERR-AUTO-MATCH-OFF (err u5017))
;; Provider twice in one policy.
(define-constant ERR-DUPLICATE-PROVIDER (err u5018))
;; Allocation too small.
(define-constant ERR-MIN-ALLOCATION (err u5019))
;; Allocation above the tier's share per policy.
(define-constant ERR-MAX-POLICY (err u5020))
;; Exposure to one expiry above the tier's share.
(define-constant ERR-MAX-EXPIRY (err u5021))
;; Liabilities do not sum to the maximum payout, or one exceeds it.
(define-constant ERR-ALLOCATION-SUM (err u5022))
;; Caller is neither treasury nor fund.
(define-constant ERR-NOT-FEE-MODULE (err u5023))
;; Token transfer failed or moved more than it was allowed.
(define-constant ERR-TRANSFER (err u5024))
;; Capital came to the position in this Stacks block.
(define-constant ERR-SAME-BLOCK (err u5025))
;; Change of tier to the same tier.
(define-constant ERR-SAME-TIER (err u5026))
;; Caller is not the active liquidation module.
(define-constant ERR-NOT-LIQUIDATION-MODULE (err u5027))
;; Provider has no allocation in the policy.
(define-constant ERR-NO-ALLOCATION (err u5028))
;; Allocation moved to the provider who has it.
(define-constant ERR-SAME-PROVIDER (err u5029))
;; Policy has reached its expiry.
(define-constant ERR-LOCK-EXPIRED (err u5030))
;; Price of a moved allocation above its liability.
(define-constant ERR-MOVE-PRICE (err u5031))
;; Bounty for a moved allocation above its share of the collateral.
(define-constant ERR-MOVE-BOUNTY (err u5032))
;; Penalty for a moved allocation above its share of the collateral.
(define-constant ERR-MOVE-PENALTY (err u5033))

(define-constant BP u10000)
;; The largest number.
(define-constant MAX-UINT u340282366920938463463374607431768211455)

;; Number of the last event.
(define-data-var seq uint u0)
;; Id of the last withdrawal request.
(define-data-var last-request uint u0)

;; A provider's capital in one tier and token: available (of which requested is asked back), locked behind policies, and
;; the most that those policies can cost it.
(define-map positions
  {provider: principal, tier: (string-ascii 16), token: principal}
  {available: uint, locked: uint, requested: uint, liability-usd8: uint}
)
;; Sums of the positions of one tier and token.
(define-map pools
  {tier: (string-ascii 16), token: principal}
  {available: uint, locked: uint}
)
;; Everything that the vault owes in one token, by purpose; the sum is its token balance.
(define-map buckets
  principal
  {
    available: uint,
    locked: uint,
    unearned: uint,
    yield: uint,
    platform-fees: uint,
    reserve-fees: uint,
  }
)
;; Yield that a provider can claim.
(define-map yields {provider: principal, token: principal} uint)
;; Withdrawals asked for and not yet made.
(define-map requests
  uint
  {
    provider: principal,
    tier: (string-ascii 16),
    token: principal,
    amt: uint,
    unlock-burn: uint,
  }
)
;; Collateral and premium held for a live policy, and the module that may end it.
(define-map locks
  uint
  {
    module: principal,
    tier: (string-ascii 16),
    token: principal,
    expiry-burn: uint,
    collateral: uint,
    premium: uint,
    max-payout-usd8: uint,
    allocations: (list 10 {provider: principal, collateral: uint, liability-usd8: uint}),
  }
)
;; Collateral that a position has behind policies of one expiry height.
(define-map exposures
  {provider: principal, tier: (string-ascii 16), token: principal, expiry-burn: uint}
  uint
)
;; Whether a provider takes new policies; without a row, yes.
(define-map auto-match principal bool)
;; Stacks block in which capital last came to a position from outside it.
(define-map arrivals {provider: principal, tier: (string-ascii 16), token: principal} uint)

;; Fields common to all events; counts the event.
(define-private (envelope (topic (string-ascii 40)))
  (let ((number (+ (var-get seq) u1)))
    (var-set seq number)
    {topic: topic, v: u1, seq: number, actor: tx-sender, caller: contract-caller}
  )
)

;; A provider's capital in one tier and token.
(define-read-only (get-position (provider principal) (tier (string-ascii 16)) (token principal))
  (default-to {available: u0, locked: u0, requested: u0, liability-usd8: u0}
    (map-get? positions {provider: provider, tier: tier, token: token})
  )
)

;; Sums of the positions of one tier and token.
(define-read-only (get-pool (tier (string-ascii 16)) (token principal))
  (default-to {available: u0, locked: u0} (map-get? pools {tier: tier, token: token}))
)

;; Everything that the vault owes in one token, by purpose.
(define-read-only (get-buckets (token principal))
  (default-to
    {available: u0, locked: u0, unearned: u0, yield: u0, platform-fees: u0, reserve-fees: u0}
    (map-get? buckets token)
  )
)

;; Yield that a provider can claim.
(define-read-only (get-yield (provider principal) (token principal))
  (default-to u0 (map-get? yields {provider: provider, token: token}))
)

;; A withdrawal asked for and not yet made.
(define-read-only (get-request (request uint))
  (map-get? requests request)
)

;; What is held for a live policy.
(define-read-only (get-lock (policy uint))
  (map-get? locks policy)
)

;; Collateral that a position has behind policies of one expiry height.
(define-read-only (get-exposure
    (provider principal)
    (tier (string-ascii 16))
    (token principal)
    (expiry-burn uint)
  )
  (default-to u0
    (map-get? exposures {provider: provider, tier: tier, token: token, expiry-burn: expiry-burn})
  )
)

;; Whether a provider takes new policies.
(define-read-only (is-auto-match (provider principal))
  (default-to true (map-get? auto-match provider))
)

;; Stacks block in which capital last came to a position from outside it; 0 for none.
(define-read-only (get-arrival (provider principal) (tier (string-ascii 16)) (token principal))
  (default-to u0 (map-get? arrivals {provider: provider, tier: tier, token: token}))
)

;; Number of the last event.
(define-read-only (get-seq)
  (var-get seq)
)

;; Moves tokens from their owner into the vault; the token can take no more than that from the owner.
(define-private (pull (token <sip010>) (amt uint) (from principal))
  (let ((row (unwrap! (contract-call? .bh-params get-token (contract-of token)) ERR-UNKNOWN-TOKEN)))
    (if (is-eq amt u0)
      (ok true)
      (ok (unwrap!
        (restrict-assets? from
          (
            (with-stx (if (get native row) amt u0))
            (with-ft (contract-of token) (get asset-name row) amt)
          )
          (unwrap! (contract-call? token transfer amt from current-contract none) ERR-TRANSFER)
        )
        ERR-TRANSFER
      ))
    )
  )
)

;; Moves tokens out of the vault; the token can take no more than that from the vault.
(define-private (push (token <sip010>) (amt uint) (to principal))
  (let ((row (unwrap! (contract-call? .bh-params get-token (contract-of token)) ERR-UNKNOWN-TOKEN)))
    (if (is-eq amt u0)
      (ok true)
      (ok (unwrap!
        (as-contract?
          (
            (with-stx (if (get native row) amt u0))
            (with-ft (contract-of token) (get asset-name row) amt)
          )
          (unwrap! (contract-call? token transfer amt current-contract to none) ERR-TRANSFER)
        )
        ERR-TRANSFER
      ))
    )
  )
)

;; The smaller of two numbers.
(define-private (least (a uint) (b uint))
  (if (< a b) a b)
)

;; Writes a position and gives its balances around the change, for the event.
(define-private (write-position
    (key {provider: principal, tier: (string-ascii 16), token: principal})
    (before {available: uint, locked: uint, requested: uint, liability-usd8: uint})
    (after {available: uint, locked: uint, requested: uint, liability-usd8: uint})
  )
  (begin
    (map-set positions key after)
    (merge key {
      available-before: (get available before),
      available-after: (get available after),
      locked-before: (get locked before),
      locked-after: (get locked after),
      requested-before: (get requested before),
      requested-after: (get requested after),
      liability-usd8-before: (get liability-usd8 before),
      liability-usd8-after: (get liability-usd8 after),
    })
  )
)

;; Adds a provider's capital to one of their positions.
(define-public (deposit (token <sip010>) (tier (string-ascii 16)) (amt uint))
  (let (
      (token-id (contract-of token))
      (token-row (unwrap! (contract-call? .bh-params get-token token-id) ERR-UNKNOWN-TOKEN))
      (tier-row (unwrap! (contract-call? .bh-params get-tier tier) ERR-UNKNOWN-TIER))
      (before (get-position contract-caller tier token-id))
      (pool (get-pool tier token-id))
      (bucket (get-buckets token-id))
    )
    (asserts! (contract-call? .bh-params is-open "deposit") ERR-DEPOSIT-CLOSED)
    (asserts! (get active token-row) ERR-UNKNOWN-TOKEN)
    (asserts! (get active tier-row) ERR-UNKNOWN-TIER)
    (asserts! (> amt u0) ERR-ZERO-AMOUNT)
    (asserts!
      (and
        (<= amt (get cap token-row))
        (<= (+ (get available bucket) (get locked bucket) amt) (get cap token-row))
      )
      ERR-TOKEN-CAP
    )
    (map-set pools {tier: tier, token: token-id}
      (merge pool {available: (+ (get available pool) amt)})
    )
    (map-set buckets token-id (merge bucket {available: (+ (get available bucket) amt)}))
    (map-set arrivals {provider: contract-caller, tier: tier, token: token-id} stacks-block-height)
    (print (merge (merge (envelope "capital.deposited") {amt: amt, arrived-stacks: stacks-block-height})
      (write-position {provider: contract-caller, tier: tier, token: token-id} before
        (merge before {available: (+ (get available before) amt)})
      )
    ))
    (pull token amt contract-caller)
  )
)

;; Fails unless a position has capital that is neither locked nor asked back, and that did not come in this block.
(define-private (check-free
    (before {available: uint, locked: uint, requested: uint, liability-usd8: uint})
    (arrival uint)
    (amt uint)
  )
  (begin
    (asserts! (> amt u0) ERR-ZERO-AMOUNT)
    (asserts!
      (and (<= amt (get available before)) (<= (+ amt (get requested before)) (get available before)))
      ERR-AVAILABLE
    )
    (ok (asserts! (< arrival stacks-block-height) ERR-SAME-BLOCK))
  )
)

;; Asks for free capital back. It takes no new policies from now on and can be withdrawn after the delay.
(define-public (request-withdraw (token principal) (tier (string-ascii 16)) (amt uint))
  (let (
      (before (get-position contract-caller tier token))
      (request (+ (var-get last-request) u1))
      (delay (try! (contract-call? .bh-params get-param "withdrawal-delay")))
      (unlock-burn (+ burn-block-height delay))
    )
    (asserts! (contract-call? .bh-params is-open "withdraw") ERR-WITHDRAW-CLOSED)
    (try! (check-free before (get-arrival contract-caller tier token) amt))
    (var-set last-request request)
    (map-set requests request {
      provider: contract-caller,
      tier: tier,
      token: token,
      amt: amt,
      unlock-burn: unlock-burn,
    })
    (print (merge
      (merge (envelope "withdraw.requested") {request: request, amt: amt, unlock-burn: unlock-burn})
      (write-position {provider: contract-caller, tier: tier, token: token} before
        (merge before {requested: (+ (get requested before) amt)})
      )
    ))
    (ok request)
  )
)

;; Fails unless a position that backs policies keeps its tier's warning ratio, at a fresh price.
(define-private (check-health
    (token principal)
    (tier (string-ascii 16))
    (capital uint)
    (liability-usd8 uint)
  )
  (if (is-eq liability-usd8 u0)
    (ok true)
    (let (
        (token-row (unwrap! (contract-call? .bh-params get-token token) ERR-UNKNOWN-TOKEN))
        (tier-row (unwrap! (contract-call? .bh-params get-tier tier) ERR-UNKNOWN-TIER))
        (price (try! (contract-call? .bh-oracle get-fresh-price (get asset token-row))))
        (health (contract-call? .bh-math health-bp capital (get decimals token-row)
          (get price-usd8 price) (get haircut-bp token-row) liability-usd8
        ))
      )
      (ok (asserts! (>= (default-to u0 health) (get ratio-warn-bp tier-row)) ERR-HEALTH))
    )
  )
)

;; Pays out a withdrawal whose delay is over.
(define-public (withdraw (request uint) (token <sip010>))
  (let (
      (row (unwrap! (map-get? requests request) ERR-UNKNOWN-REQUEST))
      (token-id (get token row))
      (tier (get tier row))
      (provider (get provider row))
      (before (get-position provider tier token-id))
      (amt (get amt row))
      (after (merge before {
        available: (- (get available before) amt),
        requested: (- (get requested before) amt),
      }))
      (pool (get-pool tier token-id))
      (bucket (get-buckets token-id))
    )
    (asserts! (is-eq contract-caller provider) ERR-NOT-REQUESTER)
    (asserts! (is-eq (contract-of token) token-id) ERR-WRONG-TOKEN)
    (asserts! (contract-call? .bh-params is-open "withdraw") ERR-WITHDRAW-CLOSED)
    (asserts! (>= burn-block-height (get unlock-burn row)) ERR-WITHDRAW-DELAY)
    (try! (check-health token-id tier (+ (get available after) (get locked after)) (get liability-usd8 after)))
    (map-delete requests request)
    (map-set pools {tier: tier, token: token-id}
      (merge pool {available: (- (get available pool) amt)})
    )
    (map-set buckets token-id (merge bucket {available: (- (get available bucket) amt)}))
    (print (merge (merge (envelope "capital.withdrawn") {request: request, amt: amt})
      (write-position {provider: provider, tier: tier, token: token-id} before after)
    ))
    (push token amt provider)
  )
)

;; Moves a provider's free capital to another tier. A position that backs policies keeps its tier's warning ratio.
(define-public (change-tier
    (token principal)
    (from (string-ascii 16))
    (to (string-ascii 16))
    (amt uint)
  )
  (let (
      (token-row (unwrap! (contract-call? .bh-params get-token token) ERR-UNKNOWN-TOKEN))
      (from-row (unwrap! (contract-call? .bh-params get-tier from) ERR-UNKNOWN-TIER))
      (to-row (unwrap! (contract-call? .bh-params get-tier to) ERR-UNKNOWN-TIER))
      (from-key {provider: contract-caller, tier: from, token: token})
      (to-key {provider: contract-caller, tier: to, token: token})
      (from-before (get-position contract-caller from token))
      (to-before (get-position contract-caller to token))
      (from-pool (get-pool from token))
      (to-pool (get-pool to token))
    )
    (asserts! (contract-call? .bh-params is-open "deposit") ERR-DEPOSIT-CLOSED)
    (asserts! (contract-call? .bh-params is-open "withdraw") ERR-WITHDRAW-CLOSED)
    (asserts! (get active token-row) ERR-UNKNOWN-TOKEN)
    (asserts! (get active to-row) ERR-UNKNOWN-TIER)
    (asserts! (not (is-eq from to)) ERR-SAME-TIER)
    (try! (check-free from-before (get-arrival contract-caller from token) amt))
    (try! (check-health token from
      (- (+ (get available from-before) (get locked from-before)) amt)
      (get liability-usd8 from-before)
    ))
    (map-set pools {tier: from, token: token}
      (merge from-pool {available: (- (get available from-pool) amt)})
    )
    (map-set pools {tier: to, token: token}
      (merge to-pool {available: (+ (get available to-pool) amt)})
    )
    (map-set arrivals to-key stacks-block-height)
    (print (merge (merge (envelope "capital.moved-out") {amt: amt, to-tier: to})
      (write-position from-key from-before
        (merge from-before {available: (- (get available from-before) amt)})
      )
    ))
    (print (merge
      (merge (envelope "capital.moved-in") {
        amt: amt,
        from-tier: from,
        arrived-stacks: stacks-block-height,
      })
      (write-position to-key to-before
        (merge to-before {available: (+ (get available to-before) amt)})
      )
    ))
    (ok true)
  )
)

;; Says whether the provider's positions take new policies.
(define-public (set-auto-match (on bool))
  (let ((before (is-auto-match contract-caller)))
    (map-set auto-match contract-caller on)
    (print (merge (envelope "automatch.set") {provider: contract-caller, on: on, before: before}))
    (ok true)
  )
)

;; Pays a provider everything earned in one token. Gives the amount.
(define-public (claim-yield (token <sip010>))
  (let (
      (token-id (contract-of token))
      (amt (get-yield contract-caller token-id))
      (bucket (get-buckets token-id))
    )
    (asserts! (> amt u0) ERR-NO-YIELD)
    (map-set yields {provider: contract-caller, token: token-id} u0)
    (map-set buckets token-id (merge bucket {yield: (- (get yield bucket) amt)}))
    (print (merge (envelope "yield.claimed") {
      provider: contract-caller,
      token: token-id,
      amt: amt,
      yield-before: amt,
      yield-after: u0,
    }))
    (try! (push token amt contract-caller))
    (ok amt)
  )
)

;; Locks one provider's share of a policy, unless a share before it failed.
(define-private (lock-step
    (allocation {provider: principal, liability-usd8: uint})
    (state (response {
      policy: uint,
      tier: (string-ascii 16),
      token: principal,
      expiry-burn: uint,
      price-usd8: uint,
      decimals: uint,
      haircut-bp: uint,
      ratio-min-bp: uint,
      max-policy-bp: uint,
      max-expiry-bp: uint,
      min-allocation-usd8: uint,
      max-payout-usd8: uint,
      providers: (list 10 principal),
      liability-usd8: uint,
      collateral: uint,
      allocations: (list 10 {provider: principal, collateral: uint, liability-usd8: uint}),
    } uint))
  )
  (let (
      (acc (try! state))
      (provider (get provider allocation))
      (liability (get liability-usd8 allocation))
      (is-share (asserts! (<= liability (get max-payout-usd8 acc)) ERR-ALLOCATION-SUM))
      (key {provider: provider, tier: (get tier acc), token: (get token acc)})
      (before (get-position provider (get tier acc) (get token acc)))
      (capital (+ (get available before) (get locked before)))
      (amt (contract-call? .bh-math required-collateral liability (get decimals acc) (get price-usd8 acc)
        (get ratio-min-bp acc) (get haircut-bp acc)
      ))
      (exposure-before (get-exposure provider (get tier acc) (get token acc) (get expiry-burn acc)))
      (exposure-after (+ exposure-before amt))
      (liability-after (+ (get liability-usd8 before) liability))
    )
    (asserts! (is-auto-match provider) ERR-AUTO-MATCH-OFF)
    (asserts! (is-none (index-of? (get providers acc) provider)) ERR-DUPLICATE-PROVIDER)
    (asserts! (>= liability (get min-allocation-usd8 acc)) ERR-MIN-ALLOCATION)
    (asserts! (<= (+ (get requested before) amt) (get available before)) ERR-AVAILABLE)
    (asserts! (<= (* amt BP) (* capital (get max-policy-bp acc))) ERR-MAX-POLICY)
    (asserts! (<= (* exposure-after BP) (* capital (get max-expiry-bp acc))) ERR-MAX-EXPIRY)
    (asserts!
      (>=
        (default-to u0 (contract-call? .bh-math health-bp capital (get decimals acc) (get price-usd8 acc)
          (get haircut-bp acc) liability-after
        ))
        (get ratio-min-bp acc)
      )
      ERR-HEALTH
    )
    (map-set exposures (merge key {expiry-burn: (get expiry-burn acc)}) exposure-after)
    (print (merge
      (merge (envelope "collateral.locked") {
        policy: (get policy acc),
        amt: amt,
        liability-usd8: liability,
        expiry-burn: (get expiry-burn acc),
        exposure-before: exposure-before,
        exposure-after: exposure-after,
      })
      (write-position key before
        (merge before {
          available: (- (get available before) amt),
          locked: (+ (get locked before) amt),
          liability-usd8: liability-after,
        })
      )
    ))
    (ok (merge acc {
      providers: (unwrap! (as-max-len? (append (get providers acc) provider) u10) ERR-ALLOCATION-SUM),
      liability-usd8: (+ (get liability-usd8 acc) liability),
      collateral: (+ (get collateral acc) amt),
      allocations: (unwrap!
        (as-max-len?
          (append (get allocations acc) {provider: provider, collateral: amt, liability-usd8: liability})
          u10
        )
        ERR-ALLOCATION-SUM
      ),
    }))
  )
)

;; Locks providers' capital behind a new policy and takes its premium from the owner. Gives the collateral locked.
(define-public (lock
    (policy uint)
    (owner principal)
    (token <sip010>)
    (cover {
      tier: (string-ascii 16),
      expiry-burn: uint,
      max-payout-usd8: uint,
      price-usd8: uint,
    })
    (premium {platform: uint, reserve: uint, provider: uint})
    (allocations (list 10 {provider: principal, liability-usd8: uint}))
  )
  (let (
      (token-id (contract-of token))
      (tier (get tier cover))
      (token-row (unwrap! (contract-call? .bh-params get-token token-id) ERR-UNKNOWN-TOKEN))
      (tier-row (unwrap! (contract-call? .bh-params get-tier tier) ERR-UNKNOWN-TIER))
      (min-allocation (try! (contract-call? .bh-params get-param "min-allocation-usd8")))
      (is-module (asserts! (contract-call? .bh-registry is-active "policy" contract-caller) ERR-NOT-POLICY-MODULE))
      (result (try! (fold lock-step allocations
        (ok {
          policy: policy,
          tier: tier,
          token: token-id,
          expiry-burn: (get expiry-burn cover),
          price-usd8: (get price-usd8 cover),
          decimals: (get decimals token-row),
          haircut-bp: (get haircut-bp token-row),
          ratio-min-bp: (get ratio-min-bp tier-row),
          max-policy-bp: (get max-policy-bp tier-row),
          max-expiry-bp: (get max-expiry-bp tier-row),
          min-allocation-usd8: min-allocation,
          max-payout-usd8: (get max-payout-usd8 cover),
          providers: (list),
          liability-usd8: u0,
          collateral: u0,
          allocations: (list),
        })
      )))
      (collateral (get collateral result))
      (amt (+ (get platform premium) (get reserve premium) (get provider premium)))
      (pool (get-pool tier token-id))
      (before (get-buckets token-id))
      (after {
        available: (- (get available before) collateral),
        locked: (+ (get locked before) collateral),
        unearned: (+ (get unearned before) (get provider premium)),
        yield: (get yield before),
        platform-fees: (+ (get platform-fees before) (get platform premium)),
        reserve-fees: (+ (get reserve-fees before) (get reserve premium)),
      })
    )
    (asserts! (> (get max-payout-usd8 cover) u0) ERR-ZERO-AMOUNT)
    (asserts! (is-eq (get liability-usd8 result) (get max-payout-usd8 cover)) ERR-ALLOCATION-SUM)
    (asserts!
      (map-insert locks policy {
        module: contract-caller,
        tier: tier,
        token: token-id,
        expiry-burn: (get expiry-burn cover),
        collateral: collateral,
        premium: (get provider premium),
        max-payout-usd8: (get max-payout-usd8 cover),
        allocations: (get allocations result),
      })
      ERR-LOCKED
    )
    (map-set pools {tier: tier, token: token-id} {
      available: (- (get available pool) collateral),
      locked: (+ (get locked pool) collateral),
    })
    (map-set buckets token-id after)
    (print (merge (envelope "premium.escrowed") {
      policy: policy,
      module: contract-caller,
      owner: owner,
      tier: tier,
      token: token-id,
      expiry-burn: (get expiry-burn cover),
      max-payout-usd8: (get max-payout-usd8 cover),
      collateral: collateral,
      amt: amt,
      premium-provider: (get provider premium),
      fee-platform: (get platform premium),
      fee-reserve: (get reserve premium),
      unearned-before: (get unearned before),
      unearned-after: (get unearned after),
      platform-fees-before: (get platform-fees before),
      platform-fees-after: (get platform-fees after),
      reserve-fees-before: (get reserve-fees before),
      reserve-fees-after: (get reserve-fees after),
    }))
    (try! (pull token amt owner))
    (ok collateral)
  )
)

;; Ends one provider's share of a policy: its part of the payout leaves, as far as its own collateral reaches, the rest is
;; free again, its part of the premium becomes yield.
(define-private (end-step
    (allocation {provider: principal, collateral: uint, liability-usd8: uint})
    (acc {
      policy: uint,
      tier: (string-ascii 16),
      token: principal,
      expiry-burn: uint,
      due: uint,
      earned: uint,
      max-payout-usd8: uint,
      liability-sum: uint,
      paid: uint,
    })
  )
  (let (
      (policy (get policy acc))
      (provider (get provider allocation))
      (collateral (get collateral allocation))
      (liability (get liability-usd8 allocation))
      (from (get liability-sum acc))
      (liability-sum (+ from liability))
      (total (get max-payout-usd8 acc))
      (loss (least collateral (contract-call? .bh-math slice (get due acc) from liability-sum total)))
      (earned (contract-call? .bh-math slice (get earned acc) from liability-sum total))
      (key {provider: provider, tier: (get tier acc), token: (get token acc)})
      (before (get-position provider (get tier acc) (get token acc)))
      (debited (merge before {locked: (- (get locked before) loss)}))
      (released (merge debited {
        available: (+ (get available debited) (- collateral loss)),
        locked: (- (get locked debited) (- collateral loss)),
        liability-usd8: (- (get liability-usd8 debited) liability),
      }))
      (exposure-before (get-exposure provider (get tier acc) (get token acc) (get expiry-burn acc)))
      (exposure-after (- exposure-before collateral))
      (yield-before (get-yield provider (get token acc)))
    )
    (if (> loss u0)
      (begin
        (print (merge (merge (envelope "payout.debited") {policy: policy, amt: loss})
          (write-position key before debited)
        ))
        true
      )
      true
    )
    (map-set exposures (merge key {expiry-burn: (get expiry-burn acc)}) exposure-after)
    (print (merge
      (merge (envelope "collateral.released") {
        policy: policy,
        amt: (- collateral loss),
        liability-usd8: liability,
        expiry-burn: (get expiry-burn acc),
        exposure-before: exposure-before,
        exposure-after: exposure-after,
      })
      (write-position key debited released)
    ))
    (if (> earned u0)
      (begin
        (map-set yields {provider: provider, token: (get token acc)} (+ yield-before earned))
        (print (merge (envelope "premium.earned") {
          policy: policy,
          provider: provider,
          token: (get token acc),
          amt: earned,
          yield-before: yield-before,
          yield-after: (+ yield-before earned),
        }))
        true
      )
      true
    )
    (merge acc {liability-sum: liability-sum, paid: (+ (get paid acc) loss)})
  )
)

;; Ends a policy's lock: pays its owner what is due out of the collateral and a refund out of the premium, frees the rest
;; of the collateral and lets the providers earn the rest of the premium. Gives what was paid. An amount due that is too
;; large to be shared without an overflow is far above any collateral, and is cut.
(define-private (end-lock (policy uint) (token <sip010>) (to principal) (due uint) (refunded uint))
  (let (
      (row (unwrap! (map-get? locks policy) ERR-NO-LOCK))
      (token-id (get token row))
      (tier (get tier row))
      (collateral (get collateral row))
      (max-payout (get max-payout-usd8 row))
      (earned (- (get premium row) refunded))
      (is-token (asserts! (is-eq (contract-of token) token-id) ERR-WRONG-TOKEN))
      (paid (get paid
        (fold end-step (get allocations row) {
          policy: policy,
          tier: tier,
          token: token-id,
          expiry-burn: (get expiry-burn row),
          due: (least due (/ MAX-UINT max-payout)),
          earned: earned,
          max-payout-usd8: max-payout,
          liability-sum: u0,
          paid: u0,
        })
      ))
      (pool (get-pool tier token-id))
      (before (get-buckets token-id))
      (after (merge before {
        available: (+ (get available before) (- collateral paid)),
        locked: (- (get locked before) collateral),
        unearned: (- (get unearned before) (get premium row)),
        yield: (+ (get yield before) earned),
      }))
    )
    (map-delete locks policy)
    (map-set pools {tier: tier, token: token-id} {
      available: (+ (get available pool) (- collateral paid)),
      locked: (- (get locked pool) collateral),
    })
    (map-set buckets token-id after)
    (if (> refunded u0)
      (begin
        (print (merge (envelope "premium.refunded") {
          policy: policy,
          to: to,
          token: token-id,
          amt: refunded,
        }))
        true
      )
      true
    )
    (print (merge (envelope "lock.closed") {
      policy: policy,
      to: to,
      token: token-id,
      paid: paid,
      refunded: refunded,
      earned: earned,
      unearned-before: (get unearned before),
      unearned-after: (get unearned after),
      yield-before: (get yield before),
      yield-after: (get yield after),
    }))
    (try! (push token (+ paid refunded) to))
    (ok paid)
  )
)

;; The lock of a policy, if the caller is the module that made it.
(define-private (lock-of-caller (policy uint))
  (let ((row (unwrap! (map-get? locks policy) ERR-NO-LOCK)))
    (asserts! (is-eq contract-caller (get module row)) ERR-NOT-POLICY-MODULE)
    (ok row)
  )
)

;; Ends a policy with a payout, as far as each provider's collateral reaches. Gives what was paid.
(define-public (settle (policy uint) (token <sip010>) (to principal) (amt uint))
  (begin
    (try! (lock-of-caller policy))
    (end-lock policy token to amt u0)
  )
)

;; Ends a policy by giving the unearned premium back, less a fee that the providers earn.
(define-public (refund (policy uint) (token <sip010>) (to principal) (fee-bp uint))
  (let (
      (row (try! (lock-of-caller policy)))
      (fee (contract-call? .bh-math div-up (* (get premium row) fee-bp) BP))
      (refunded (- (get premium row) fee))
    )
    (try! (end-lock policy token to u0 refunded))
    (ok {refund: refunded, fee: fee})
  )
)

;; Finds a provider's allocation.
(define-private (find-step
    (item {provider: principal, collateral: uint, liability-usd8: uint})
    (acc {provider: principal, collateral: uint, liability-usd8: uint})
  )
  (if (is-eq (get provider item) (get provider acc)) item acc)
)

;; A provider's allocation among those of a lock; zeros without one.
(define-private (allocation-of
    (items (list 10 {provider: principal, collateral: uint, liability-usd8: uint}))
    (provider principal)
  )
  (fold find-step items {provider: provider, collateral: u0, liability-usd8: u0})
)

;; Copies an allocation, unless it is the leaving provider's or the taker's.
(define-private (keep-step
    (item {provider: principal, collateral: uint, liability-usd8: uint})
    (acc {
      from: principal,
      to: principal,
      out: (list 10 {provider: principal, collateral: uint, liability-usd8: uint}),
    })
  )
  (if (or (is-eq (get provider item) (get from acc)) (is-eq (get provider item) (get to acc)))
    acc
    (merge acc {out: (append-allocation (get out acc) item)})
  )
)

;; Appends to a list of allocations that another one has left.
(define-private (append-allocation
    (items (list 10 {provider: principal, collateral: uint, liability-usd8: uint}))
    (item {provider: principal, collateral: uint, liability-usd8: uint})
  )
  (default-to items (as-max-len? (append items item) u10))
)

;; Adds to what a principal can claim as yield, and prints it.
(define-private (credit-yield
    (policy uint)
    (provider principal)
    (token principal)
    (amt uint)
    (kind (string-ascii 8))
  )
  (let ((before (get-yield provider token)))
    (if (> amt u0)
      (begin
        (map-set yields {provider: provider, token: token} (+ before amt))
        (print (merge (envelope "yield.credited") {
          policy: policy,
          kind: kind,
          provider: provider,
          token: token,
          amt: amt,
          yield-before: before,
          yield-after: (+ before amt),
        }))
        true
      )
      true
    )
  )
)

;; A share of an amount that a parameter sets, rounded down.
(define-private (share-of (amt uint) (key (string-ascii 24)))
  (ok (/ (* amt (try! (contract-call? .bh-params get-param key))) BP))
)

;; Passes a provider's allocation of a live policy to a taker. The provider pays the taker a price, and a bounty and a
;; penalty that become yield, out of the collateral behind this allocation and nothing else; the taker locks what its tier
;; asks. What the module may ask is bounded here: the price by the liability, bounty and penalty by their parameters.
(define-public (move-allocation
    (policy uint)
    (from principal)
    (to principal)
    (terms {
      price: uint,
      bounty: uint,
      bounty-to: principal,
      penalty: uint,
      penalty-to: principal,
    })
  )
  (let (
      (is-module (asserts!
        (contract-call? .bh-registry is-active "liquidation" contract-caller)
        ERR-NOT-LIQUIDATION-MODULE
      ))
      (row (unwrap! (map-get? locks policy) ERR-NO-LOCK))
      (is-other (asserts! (not (is-eq from to)) ERR-SAME-PROVIDER))
      (is-alive (asserts! (< burn-block-height (get expiry-burn row)) ERR-LOCK-EXPIRED))
      (tier (get tier row))
      (token (get token row))
      (token-row (unwrap! (contract-call? .bh-params get-token token) ERR-UNKNOWN-TOKEN))
      (tier-row (unwrap! (contract-call? .bh-params get-tier tier) ERR-UNKNOWN-TIER))
      (moved (allocation-of (get allocations row) from))
      (liability (get liability-usd8 moved))
      (is-found (asserts! (> liability u0) ERR-NO-ALLOCATION))
      (held (allocation-of (get allocations row) to))
      (collateral-from (get collateral moved))
      (token-price-usd8 (get price-usd8 (try! (contract-call? .bh-oracle get-market-price (get asset token-row)))))
      (is-price (asserts!
        (<= (get price terms)
          (contract-call? .bh-math tokens-up liability (get decimals token-row) token-price-usd8)
        )
        ERR-MOVE-PRICE
      ))
      (is-bounty (asserts!
        (<= (get bounty terms) (try! (share-of collateral-from "liquidation-bounty-bp")))
        ERR-MOVE-BOUNTY
      ))
      (is-penalty (asserts!
        (<= (get penalty terms) (try! (share-of collateral-from "liquidation-penalty-bp")))
        ERR-MOVE-PENALTY
      ))
      (collateral-to (contract-call? .bh-math required-collateral liability (get decimals token-row)
        token-price-usd8 (get ratio-min-bp tier-row) (get haircut-bp token-row)
      ))
      (from-key {provider: from, tier: tier, token: token})
      (from-before (get-position from tier token))
      (price (least (get price terms) collateral-from))
      (bounty (least (get bounty terms) (- collateral-from price)))
      (penalty (least (get penalty terms) (- collateral-from price bounty)))
      (paid (+ price bounty penalty))
      (to-key {provider: to, tier: tier, token: token})
      (to-before (get-position to tier token))
      (to-available (+ (get available to-before) price))
      (to-liability (+ (get liability-usd8 to-before) liability))
      (expiry (get expiry-burn row))
      (from-exposure (get-exposure from tier token expiry))
      (to-exposure (get-exposure to tier token expiry))
      (collateral (- (+ (get collateral row) collateral-to) collateral-from))
      (pool (get-pool tier token))
      (bucket (get-buckets token))
      (yield (+ bounty penalty))
    )
    (asserts! (<= (+ (get requested to-before) collateral-to) to-available) ERR-AVAILABLE)
    (asserts!
      (>=
        (default-to u0 (contract-call? .bh-math health-bp (+ to-available (get locked to-before))
          (get decimals token-row) token-price-usd8 (get haircut-bp token-row) to-liability
        ))
        (get ratio-min-bp tier-row)
      )
      ERR-HEALTH
    )
    (map-set exposures (merge from-key {expiry-burn: expiry}) (- from-exposure collateral-from))
    (map-set exposures (merge to-key {expiry-burn: expiry}) (+ to-exposure collateral-to))
    (map-set locks policy
      (merge row {
        collateral: collateral,
        allocations: (append-allocation
          (get out (fold keep-step (get allocations row) {from: from, to: to, out: (list)}))
          {
            provider: to,
            collateral: (+ (get collateral held) collateral-to),
            liability-usd8: (+ (get liability-usd8 held) liability),
          }
        ),
      })
    )
    (map-set pools {tier: tier, token: token} {
      available: (- (+ (get available pool) collateral-from) yield collateral-to),
      locked: (- (+ (get locked pool) collateral-to) collateral-from),
    })
    (map-set buckets token
      (merge bucket {
        available: (- (+ (get available bucket) collateral-from) yield collateral-to),
        locked: (- (+ (get locked bucket) collateral-to) collateral-from),
        yield: (+ (get yield bucket) yield),
      })
    )
    (print (merge
      (merge (envelope "allocation.moved-out") {
        policy: policy,
        amt: collateral-from,
        liability-usd8: liability,
        paid: paid,
        expiry-burn: expiry,
        exposure-before: from-exposure,
        exposure-after: (- from-exposure collateral-from),
      })
      (write-position from-key from-before
        (merge from-before {
          available: (+ (get available from-before) (- collateral-from paid)),
          locked: (- (get locked from-before) collateral-from),
          liability-usd8: (- (get liability-usd8 from-before) liability),
        })
      )
    ))
    (print (merge
      (merge (envelope "allocation.moved-in") {
        policy: policy,
        amt: collateral-to,
        liability-usd8: liability,
        received: price,
        expiry-burn: expiry,
        exposure-before: to-exposure,
        exposure-after: (+ to-exposure collateral-to),
      })
      (write-position to-key to-before
        (merge to-before {
          available: (- to-available collateral-to),
          locked: (+ (get locked to-before) collateral-to),
          liability-usd8: to-liability,
        })
      )
    ))
    (credit-yield policy (get bounty-to terms) token bounty "bounty")
    (credit-yield policy (get penalty-to terms) token penalty "penalty")
    (print (merge (envelope "allocation.moved") {
      policy: policy,
      from: from,
      to: to,
      tier: tier,
      token: token,
      token-price-usd8: token-price-usd8,
      liability-usd8: liability,
      price: price,
      bounty: bounty,
      penalty: penalty,
      collateral-before: (get collateral row),
      collateral-after: collateral,
      yield-before: (get yield bucket),
      yield-after: (+ (get yield bucket) yield),
    }))
    (ok {
      collateral-from: collateral-from,
      collateral-to: collateral-to,
      paid: price,
      bounty: bounty,
      penalty: penalty,
    })
  )
)

;; Pays collected fees to the module that they belong to: platform fees to the treasury, reserve fees to the fund.
(define-public (collect-fees (token <sip010>))
  (let (
      (token-id (contract-of token))
      (bucket (get-buckets token-id))
      (is-treasury (contract-call? .bh-registry is-active "treasury" contract-caller))
      (amt (if is-treasury (get platform-fees bucket) (get reserve-fees bucket)))
    )
    (asserts!
      (or is-treasury (contract-call? .bh-registry is-active "fund" contract-caller))
      ERR-NOT-FEE-MODULE
    )
    (asserts! (> amt u0) ERR-ZERO-AMOUNT)
    (map-set buckets token-id
      (if is-treasury (merge bucket {platform-fees: u0}) (merge bucket {reserve-fees: u0}))
    )
    (print (merge (envelope "fees.collected") {
      kind: (if is-treasury "platform" "reserve"),
      to: contract-caller,
      token: token-id,
      amt: amt,
      fees-before: amt,
      fees-after: u0,
    }))
    (try! (push token amt contract-caller))
    (ok amt)
  )
)
