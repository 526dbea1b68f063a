;; Margin calls on positions whose collateral has lost its worth, and the take-over of their allocations by others who can
;; bear them. Anyone may call; the price is computed here, and nothing happens at a stale or announced price.

;; Switch liquidate is off, or switch deposit, without which nobody can answer a call.
(define-constant ERR-LIQUIDATE-CLOSED (err u9001))
;; Token or tier of the position is unknown.
(define-constant ERR-UNKNOWN-POSITION (err u9002))
;; Position keeps its tier's warning ratio, or backs nothing.
(define-constant ERR-POSITION-HEALTHY (err u9003))
;; Position is below its tier's warning ratio.
(define-constant ERR-POSITION-UNHEALTHY (err u9004))
;; Position already has a margin call.
(define-constant ERR-CALL-OPEN (err u9005))
;; Position has no margin call.
(define-constant ERR-NO-CALL (err u9006))
;; Call is hard already.
(define-constant ERR-CALL-HARD (err u9007))
;; Position keeps its tier's minimum ratio and the soft call's deadline is not over.
(define-constant ERR-CALL-SOFT (err u9008))
;; Position has no hard call, or covers its liability and the hard call's deadline is not over.
(define-constant ERR-NOT-LIQUIDATABLE (err u9009))
;; No round was closed since the call became hard.
(define-constant ERR-SAME-ROUND (err u9010))
;; Taker is neither the caller nor the fund.
(define-constant ERR-TAKER-CONSENT (err u9011))
;; Policy ended, has expired, or belongs to another policy module.
(define-constant ERR-POLICY-NOT-LIVE (err u9012))
;; Provider backs no part of the policy.
(define-constant ERR-NOT-BACKER (err u9013))
;; Taker would be paid less than min-paid.
(define-constant ERR-MIN-PAID (err u9014))
;; Taker would be below its tier's warning ratio.
(define-constant ERR-TAKER-HEALTH (err u9015))

(define-constant BP u10000)

;; Number of the last event.
(define-data-var seq uint u0)
;; Id of the last margin call.
(define-data-var last-call uint u0)
;; Id of the last liquidation.
(define-data-var last-liquidation uint u0)

;; Open margin calls: level is soft or hard; round is the token's round at whose price the call got this level.
(define-map calls
  {provider: principal, tier: (string-ascii 16), token: principal}
  {
    call: uint,
    level: (string-ascii 4),
    issued-burn: uint,
    deadline-burn: uint,
    round: uint,
  }
)

;; Fields common to all events; counts the event.
(define-private (envelope (topic (string-ascii 40)))
  (let ((number (+ (var-get seq) u1)))
    (var-set seq number)
    {topic: topic, v: u1, seq: number, actor: tx-sender, caller: contract-caller}
  )
)

;; The open margin call of a position.
(define-read-only (get-call (provider principal) (tier (string-ascii 16)) (token principal))
  (map-get? calls {provider: provider, tier: tier, token: token})
)

;; Id of the last margin call; ids start at 1.
(define-read-only (get-last-call)
  (var-get last-call)
)

;; Id of the last liquidation; ids start at 1.
(define-read-only (get-last-liquidation)
  (var-get last-liquidation)
)

;; Number of the last event.
(define-read-only (get-seq)
  (var-get seq)
)

;; Health of a position at its token's last price, which must be fresh and no fallback. A position that backs nothing has
;; no health, is healthy, and needs no price.
(define-read-only (get-health (provider principal) (tier (string-ascii 16)) (token principal))
  (let (
      (position (contract-call? .bh-vault get-position provider tier token))
      (capital (+ (get available position) (get locked position)))
      (liability (get liability-usd8 position))
      (token-row (unwrap! (contract-call? .bh-params get-token token) ERR-UNKNOWN-POSITION))
      (tier-row (unwrap! (contract-call? .bh-params get-tier tier) ERR-UNKNOWN-POSITION))
      (price (if (is-eq liability u0)
        {round: u0, price-usd8: u0, opened-burn: u0}
        (try! (contract-call? .bh-oracle get-market-price (get asset token-row)))
      ))
      (health (contract-call? .bh-math health-bp capital (get decimals token-row) (get price-usd8 price)
        (get haircut-bp token-row) liability
      ))
    )
    (ok {
      capital: capital,
      liability-usd8: liability,
      health-bp: health,
      is-healthy: (match health bp (>= bp (get ratio-warn-bp tier-row)) true),
      is-under: (match health bp (< bp (get ratio-min-bp tier-row)) false),
      is-insolvent: (match health bp (< bp BP) false),
      ratio-warn-bp: (get ratio-warn-bp tier-row),
      decimals: (get decimals token-row),
      haircut-bp: (get haircut-bp token-row),
      round: (get round price),
      price-usd8: (get price-usd8 price),
    })
  )
)

;; Fails unless margin calls and liquidations are switched on.
(define-private (check-open)
  (ok (asserts! (contract-call? .bh-params is-open "liquidate") ERR-LIQUIDATE-CLOSED))
)

;; Calls on a provider to bring a position back to its tier's warning ratio: soft while it keeps the minimum ratio, else
;; hard. Gives the call.
(define-public (issue-margin-call (provider principal) (tier (string-ascii 16)) (token principal))
  (let (
      (is-open (try! (check-open)))
      (key {provider: provider, tier: tier, token: token})
      (health (try! (get-health provider tier token)))
      (level (if (get is-under health) "hard" "soft"))
      (window (try! (contract-call? .bh-params get-param
        (if (get is-under health) "hard-call-window" "soft-call-window")
      )))
      (call (+ (var-get last-call) u1))
      (row {
        call: call,
        level: level,
        issued-burn: burn-block-height,
        deadline-burn: (+ burn-block-height window),
        round: (get round health),
      })
    )
    (asserts! (not (get is-healthy health)) ERR-POSITION-HEALTHY)
    (asserts! (map-insert calls key row) ERR-CALL-OPEN)
    (var-set last-call call)
    (print (merge (merge (merge (envelope "margin-call.issued") key) row) {
      health-bp: (get health-bp health),
      liability-usd8: (get liability-usd8 health),
      capital: (get capital health),
      deficit: (- (contract-call? .bh-math required-collateral (get liability-usd8 health) (get decimals health)
        (get price-usd8 health) (get ratio-warn-bp health) (get haircut-bp health)
      ) (get capital health)),
      price-usd8: (get price-usd8 health),
    }))
    (ok call)
  )
)

;; Turns a soft call into a hard one: the position is below its minimum ratio, or has not answered in time.
(define-public (escalate (provider principal) (tier (string-ascii 16)) (token principal))
  (let (
      (is-open (try! (check-open)))
      (key {provider: provider, tier: tier, token: token})
      (before (unwrap! (map-get? calls key) ERR-NO-CALL))
      (health (try! (get-health provider tier token)))
      (window (try! (contract-call? .bh-params get-param "hard-call-window")))
      (row (merge before {
        level: "hard",
        deadline-burn: (+ burn-block-height window),
        round: (get round health),
      }))
    )
    (asserts! (not (get is-healthy health)) ERR-POSITION-HEALTHY)
    (asserts! (is-eq (get level before) "soft") ERR-CALL-HARD)
    (asserts! (or (get is-under health) (> burn-block-height (get deadline-burn before))) ERR-CALL-SOFT)
    (map-set calls key row)
    (print (merge (merge (merge (envelope "margin-call.escalated") key) row) {
      health-bp: (get health-bp health),
      liability-usd8: (get liability-usd8 health),
      capital: (get capital health),
      price-usd8: (get price-usd8 health),
    }))
    (ok true)
  )
)

;; Removes a call whose position is healthy again.
(define-private (end-call
    (key {provider: principal, tier: (string-ascii 16), token: principal})
    (row {call: uint, level: (string-ascii 4), issued-burn: uint, deadline-burn: uint, round: uint})
    (health-bp (optional uint))
  )
  (begin
    (map-delete calls key)
    (print (merge (merge (envelope "margin-call.resolved") key) {call: (get call row), health-bp: health-bp}))
    true
  )
)

;; Ends the call of a position that keeps its tier's warning ratio again, or backs nothing any more.
(define-public (resolve-margin-call (provider principal) (tier (string-ascii 16)) (token principal))
  (let (
      (key {provider: provider, tier: tier, token: token})
      (row (unwrap! (map-get? calls key) ERR-NO-CALL))
      (health (try! (get-health provider tier token)))
    )
    (asserts! (get is-healthy health) ERR-POSITION-UNHEALTHY)
    (ok (end-call key row (get health-bp health)))
  )
)

;; Whether a hard call's deadline is over. After the breaker of deposits was reset, providers have one more hard window.
(define-private (is-overdue (deadline-burn uint))
  (let (
      (window (try! (contract-call? .bh-params get-param "hard-call-window")))
      (reopened-burn (default-to u0 (get since-burn (contract-call? .bh-params get-breaker "deposit"))))
    )
    (ok (and
      (> burn-block-height deadline-burn)
      (> burn-block-height (+ reopened-burn window))
    ))
  )
)

;; Finds a provider's allocation.
(define-private (allocation-step
    (allocation {provider: principal, collateral: uint, liability-usd8: uint})
    (acc {provider: principal, collateral: uint, liability-usd8: uint})
  )
  (if (is-eq (get provider allocation) (get provider acc)) allocation acc)
)

;; What a provider has in a live policy, and in which position.
(define-private (allocation-of (policy uint) (provider principal))
  (let (
      (lock (unwrap! (contract-call? .bh-vault get-lock policy) ERR-POLICY-NOT-LIVE))
      (allocation (fold allocation-step (get allocations lock)
        {provider: provider, collateral: u0, liability-usd8: u0}
      ))
    )
    (asserts! (is-eq (get module lock) .bh-policy) ERR-POLICY-NOT-LIVE)
    (asserts! (< burn-block-height (get expiry-burn lock)) ERR-POLICY-NOT-LIVE)
    (asserts! (> (get liability-usd8 allocation) u0) ERR-NOT-BACKER)
    (ok {
      key: {provider: provider, tier: (get tier lock), token: (get token lock)},
      expiry-burn: (get expiry-burn lock),
      liability-usd8: (get liability-usd8 allocation),
      collateral: (get collateral allocation),
    })
  )
)

;; What an allocation is worth now in usd8: the fair value of its share of the policy, at most its liability.
(define-read-only (get-fair-value (policy uint) (provider principal))
  (let (
      (allocation (try! (allocation-of policy provider)))
      (row (unwrap! (contract-call? .bh-policy get-policy policy) ERR-POLICY-NOT-LIVE))
      (spot (try! (contract-call? .bh-oracle get-market-price (get asset row))))
      (vol-bp (try! (contract-call? .bh-oracle get-volatility-bp (get asset row))))
    )
    (ok {
      spot-usd8: (get price-usd8 spot),
      spot-round: (get round spot),
      vol-bp: vol-bp,
      fair-usd8: (contract-call? .bh-math take-over-usd8 {
        type: (get type row),
        spot-usd8: (get price-usd8 spot),
        strike-usd8: (get strike-usd8 row),
        notional-sat: (get notional-sat row),
        vol-bp: vol-bp,
        duration-burn: (- (get expiry-burn allocation) burn-block-height),
        max-payout-usd8: (get max-payout-usd8 row),
        liability-usd8: (get liability-usd8 allocation),
      }),
    })
  )
)

;; Fails unless a position under a hard call may be liquidated against its provider's will: its time is over, or it no
;; longer covers its liability, at the price of a later round than the call's.
(define-private (check-liquidatable (deadline-burn uint) (is-insolvent bool) (is-later-round bool))
  (begin
    (asserts! (or is-insolvent (try! (is-overdue deadline-burn))) ERR-NOT-LIQUIDATABLE)
    (ok (asserts! is-later-round ERR-SAME-ROUND))
  )
)

;; Moves an allocation of a position under a hard call to a taker, who is paid its fair value out of its collateral, and
;; what the fund asks on top if it is the taker. Ends the call if the position is healthy afterwards. Gives the liquidation.
(define-private (take-over
    (policy uint)
    (provider principal)
    (taker principal)
    (min-paid uint)
    (is-forced bool)
  )
  (let (
      (is-open (asserts! (contract-call? .bh-params is-open "liquidate") ERR-LIQUIDATE-CLOSED))
      (allocation (try! (allocation-of policy provider)))
      (key (get key allocation))
      (tier (get tier key))
      (token (get token key))
      (collateral (get collateral allocation))
      (liability (get liability-usd8 allocation))
      (call (unwrap! (map-get? calls key) ERR-NO-CALL))
      (before (try! (get-health provider tier token)))
      (is-unhealthy (asserts! (not (get is-healthy before)) ERR-POSITION-HEALTHY))
      (is-hard (asserts! (is-eq (get level call) "hard") ERR-NOT-LIQUIDATABLE))
      (is-allowed (asserts!
        (or
          (not is-forced)
          (try! (check-liquidatable (get deadline-burn call) (get is-insolvent before)
            (> (get round before) (get round call))
          ))
        )
        ERR-NOT-LIQUIDATABLE
      ))
      (is-fund (is-eq taker .bh-fund))
      (value (try! (get-fair-value policy provider)))
      (load-bp (if is-fund (try! (contract-call? .bh-params get-param "takeover-load-bp")) u0))
      (loaded-usd8 (contract-call? .bh-math div-up (* (get fair-usd8 value) (+ BP load-bp)) BP))
      (price-usd8 (if (< loaded-usd8 liability) loaded-usd8 liability))
      (price (contract-call? .bh-math tokens-up price-usd8 (get decimals before) (get price-usd8 before)))
      (penalty-bp (if is-forced (try! (contract-call? .bh-params get-param "liquidation-penalty-bp")) u0))
      (bounty-bp (if is-forced (try! (contract-call? .bh-params get-param "liquidation-bounty-bp")) u0))
      (moved (try! (contract-call? .bh-vault move-allocation policy provider taker {
        price: price,
        bounty: (/ (* collateral bounty-bp) BP),
        bounty-to: contract-caller,
        penalty: (/ (* collateral penalty-bp) BP),
        penalty-to: .bh-fund,
      })))
      (taker-health (try! (get-health taker tier token)))
      (after (try! (get-health provider tier token)))
      (liq (+ (var-get last-liquidation) u1))
    )
    (asserts! (>= (get paid moved) min-paid) ERR-MIN-PAID)
    (asserts! (get is-healthy taker-health) ERR-TAKER-HEALTH)
    (and
      is-fund
      (try! (contract-call? .bh-fund record-takeover policy provider {
        tier: tier,
        token: token,
        expiry-burn: (get expiry-burn allocation),
        liability-usd8: liability,
        collateral: (get collateral-to moved),
        price: price,
        paid: (get paid moved),
      }))
    )
    (var-set last-liquidation liq)
    (print (merge (merge (merge (merge (envelope "position.liquidated") key) moved) value) {
      liq: liq,
      call: (get call call),
      policy: policy,
      taker: taker,
      is-forced: is-forced,
      liability-usd8: liability,
      price-usd8: price-usd8,
      price: price,
      token-price-usd8: (get price-usd8 before),
      token-round: (get round before),
      bounty-to: contract-caller,
      penalty-to: .bh-fund,
      health-bp-before: (get health-bp before),
      health-bp-after: (get health-bp after),
      taker-health-bp: (get health-bp taker-health),
    }))
    (and (get is-healthy after) (end-call key call (get health-bp after)))
    (ok liq)
  )
)

;; Takes one allocation from a position that has not answered its hard call or no longer covers its liability. The taker
;; is the caller or the fund; the caller gets a bounty and the fund a penalty. Gives the liquidation.
(define-public (liquidate (policy uint) (provider principal) (taker principal) (min-paid uint))
  (begin
    (asserts! (contract-call? .bh-params is-open "deposit") ERR-LIQUIDATE-CLOSED)
    (asserts! (or (is-eq taker contract-caller) (is-eq taker .bh-fund)) ERR-TAKER-CONSENT)
    (take-over policy provider taker min-paid true)
  )
)

;; Gives an allocation of the caller's own, whose position is under a hard call, to the fund: no penalty, no bounty. Gives
;; the liquidation.
(define-public (self-liquidate (policy uint))
  (take-over policy contract-caller .bh-fund u0 false)
)
