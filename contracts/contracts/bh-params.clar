;; What governance sets: parameters within fixed bounds, switches, risk tiers, collateral tokens and fee shares.
;; The guardian may only trip breakers, which stop things and move nothing.

;; Caller lacks the governance role.
(define-constant ERR-PARAMS-NOT-GOVERNANCE (err u2001))
;; Second bootstrap.
(define-constant ERR-PARAMS-BOOTSTRAPPED (err u2002))
;; Caller lacks the guardian role.
(define-constant ERR-NOT-GUARDIAN (err u2003))
;; No such parameter.
(define-constant ERR-UNKNOWN-PARAM (err u2004))
;; Value outside min and max.
(define-constant ERR-PARAM-BOUNDS (err u2005))
;; Add-param of an existing key.
(define-constant ERR-PARAM-EXISTS (err u2006))
;; No such flag or breaker.
(define-constant ERR-UNKNOWN-SWITCH (err u2007))
;; Breaker already tripped, or not tripped.
(define-constant ERR-BREAKER-STATE (err u2008))
;; Tier row outside its bounds.
(define-constant ERR-TIER-BOUNDS (err u2009))
;; A ninth tier.
(define-constant ERR-TOO-MANY-TIERS (err u2010))
;; Token row outside its bounds.
(define-constant ERR-TOKEN-BOUNDS (err u2011))
;; Asset, asset-name, native or decimals of a known token changed.
(define-constant ERR-TOKEN-FIXED (err u2012))
;; Fee shares do not sum to 10000, or the provider's is below 5000.
(define-constant ERR-FEES-SUM (err u2013))
;; No such metric.
(define-constant ERR-UNKNOWN-METRIC (err u2014))
;; Metric reported by another contract than its module's active version.
(define-constant ERR-NOT-METRIC-MODULE (err u2015))
;; Kind of a parameter that is none of the units.
(define-constant ERR-PARAM-KIND (err u2016))
;; Add-switch of an existing name.
(define-constant ERR-SWITCH-EXISTS (err u2017))

;; 100% in basis points.
(define-constant BP u10000)
;; The least share of a premium that providers can be given, in bp.
(define-constant MIN-PROVIDER-BP u5000)

;; Whether bootstrap has run.
(define-data-var bootstrapped bool false)
;; Number of the last event.
(define-data-var seq uint u0)
;; Shares of a premium, in bp; they sum to 10000.
(define-data-var fees
  {provider-bp: uint, platform-bp: uint, reserve-bp: uint}
  {provider-bp: BP, platform-bp: u0, reserve-bp: u0}
)
;; Tiers in the order in which they are tried.
(define-data-var tier-names (list 8 (string-ascii 16)) (list))

;; Parameters by key; kind names the unit, min and max never change.
(define-map params
  (string-ascii 24)
  {kind: (string-ascii 8), value: uint, min: uint, max: uint}
)
;; Governance's half of each switch.
(define-map flags (string-ascii 16) bool)
;; The guardian's half of each switch, with the burn height of its last change.
(define-map breakers
  (string-ascii 16)
  {tripped: bool, reason: (string-ascii 64), since-burn: uint}
)
;; Risk tiers: which policies they take and what they demand and earn.
(define-map tiers
  (string-ascii 16)
  {
    strike-min-bp: uint,
    strike-max-bp: uint,
    max-duration-burn: uint,
    premium-mult-bp: uint,
    ratio-min-bp: uint,
    ratio-warn-bp: uint,
    max-policy-bp: uint,
    max-expiry-bp: uint,
    active: bool,
  }
)
;; Collateral tokens: price feed, asset name in the token's contract, decimals, haircut off the price, and the most that
;; the vault takes as capital, in base units.
(define-map tokens
  principal
  {
    asset: (string-ascii 12),
    asset-name: (string-ascii 128),
    native: bool,
    decimals: uint,
    haircut-bp: uint,
    cap: uint,
    active: bool,
  }
)

;; Figures that modules report about themselves: the last value, and the limit above which a breaker trips.
(define-map metrics
  (string-ascii 24)
  {module: (string-ascii 16), value: uint, limit: uint, breaker: (string-ascii 16)}
)

;; Fields common to all events; counts the event.
(define-private (envelope (topic (string-ascii 40)))
  (let ((number (+ (var-get seq) u1)))
    (var-set seq number)
    {topic: topic, v: u1, seq: number, actor: tx-sender, caller: contract-caller}
  )
)

;; Fails unless the caller holds the governance role.
(define-private (check-governance)
  (ok (asserts! (contract-call? .bh-registry has-role "governance" contract-caller) ERR-PARAMS-NOT-GOVERNANCE))
)

;; The value of a parameter.
(define-read-only (get-param (key (string-ascii 24)))
  (ok (get value (unwrap! (map-get? params key) ERR-UNKNOWN-PARAM)))
)

;; The whole row of a parameter.
(define-read-only (get-param-row (key (string-ascii 24)))
  (map-get? params key)
)

;; Governance's half of a switch.
(define-read-only (get-flag (name (string-ascii 16)))
  (map-get? flags name)
)

;; The guardian's half of a switch.
(define-read-only (get-breaker (name (string-ascii 16)))
  (map-get? breakers name)
)

;; Whether a breaker is tripped.
(define-read-only (is-tripped (name (string-ascii 16)))
  (default-to false (get tripped (map-get? breakers name)))
)

;; Whether a switch is on: flag on and breaker not tripped.
(define-read-only (is-open (name (string-ascii 16)))
  (and (default-to false (map-get? flags name)) (not (is-tripped name)))
)

;; The row of a metric.
(define-read-only (get-metric (name (string-ascii 24)))
  (map-get? metrics name)
)

;; The row of a tier.
(define-read-only (get-tier (name (string-ascii 16)))
  (map-get? tiers name)
)

;; Tiers in the order in which they are tried.
(define-read-only (get-tier-names)
  (var-get tier-names)
)

;; The row of a collateral token.
(define-read-only (get-token (token principal))
  (map-get? tokens token)
)

;; Shares of a premium.
(define-read-only (get-fees)
  (var-get fees)
)

;; Number of the last event.
(define-read-only (get-seq)
  (var-get seq)
)

;; One step of classify: once a tier's band has held the strike, the first tier that accepts the duration is it.
(define-private (classify-step
    (name (string-ascii 16))
    (acc {strike-bp: uint, duration-burn: uint, seen: bool, found: (optional (string-ascii 16))})
  )
  (match (map-get? tiers name)
    tier (let (
        (seen (and
          (get active tier)
          (>= (get strike-bp acc) (get strike-min-bp tier))
          (< (get strike-bp acc) (get strike-max-bp tier))
        ))
        (reached (or seen (get seen acc)))
      )
      (merge acc {
        seen: reached,
        found: (if (and
            (is-none (get found acc))
            reached
            (get active tier)
            (<= (get duration-burn acc) (get max-duration-burn tier))
          )
          (some name)
          (get found acc)
        ),
      })
    )
    acc
  )
)

;; The tier that takes a policy, if any. A call's strike is mirrored at the spot price.
(define-read-only (classify
    (type (string-ascii 4))
    (strike-usd8 uint)
    (spot-usd8 uint)
    (duration-burn uint)
  )
  (let (
      (direct-bp (/ (* strike-usd8 BP) spot-usd8))
      (strike-bp (if (is-eq type "put")
        direct-bp
        (if (> direct-bp (* u2 BP)) u0 (- (* u2 BP) direct-bp))
      ))
    )
    (get found
      (fold classify-step (var-get tier-names)
        {strike-bp: strike-bp, duration-burn: duration-burn, seen: false, found: none}
      )
    )
  )
)

;; Whether a parameter can be counted in this.
(define-private (is-unit (kind (string-ascii 8)))
  (or
    (is-eq kind "burn")
    (is-eq kind "bp")
    (is-eq kind "sat")
    (is-eq kind "usd8")
    (is-eq kind "amt")
    (is-eq kind "count")
  )
)

;; Writes a parameter and prints it.
(define-private (write-param
    (key (string-ascii 24))
    (row {kind: (string-ascii 8), value: uint, min: uint, max: uint})
    (proposal (optional uint))
  )
  (let ((before (get value (map-get? params key))))
    (asserts! (is-unit (get kind row)) ERR-PARAM-KIND)
    (asserts! (and (<= (get min row) (get value row)) (<= (get value row) (get max row))) ERR-PARAM-BOUNDS)
    (map-set params key row)
    (print (merge (envelope "param.set") {
      key: key,
      kind: (get kind row),
      value: (get value row),
      before: before,
      min: (get min row),
      max: (get max row),
      proposal: proposal,
    }))
    (ok true)
  )
)

;; Writes one of the first deployment's parameters, unless one before it failed.
(define-private (genesis-param
    (param {key: (string-ascii 24), kind: (string-ascii 8), value: uint, min: uint, max: uint})
    (result (response bool uint))
  )
  (begin
    (try! result)
    (write-param (get key param)
      {kind: (get kind param), value: (get value param), min: (get min param), max: (get max param)}
      none
    )
  )
)

;; Changes one parameter, unless a change before it failed.
(define-private (change-param
    (change {key: (string-ascii 24), value: uint})
    (state {proposal: (optional uint), result: (response bool uint)})
  )
  (merge state {
    result: (match (get result state)
      done (match (map-get? params (get key change))
        row (write-param (get key change) (merge row {value: (get value change)}) (get proposal state))
        ERR-UNKNOWN-PARAM
      )
      code (err code)
    ),
  })
)

;; Writes a flag and prints it.
(define-private (write-flag (name (string-ascii 16)) (on bool) (proposal (optional uint)))
  (let ((before (map-get? flags name)))
    (map-set flags name on)
    (print (merge (envelope "flag.set") {name: name, on: on, before: before, proposal: proposal}))
    true
  )
)

;; Writes a breaker that is not tripped and prints it.
(define-private (clear-breaker (name (string-ascii 16)) (proposal (optional uint)))
  (begin
    (map-set breakers name {tripped: false, reason: "", since-burn: burn-block-height})
    (print (merge (envelope "breaker.reset") {
      name: name,
      proposal: proposal,
      since-burn: burn-block-height,
    }))
    true
  )
)

;; Writes both halves of a new switch.
(define-private (write-switch (name (string-ascii 16)) (proposal (optional uint)))
  (and (write-flag name true proposal) (clear-breaker name proposal))
)

;; Writes one of the first deployment's switches.
(define-private (genesis-switch (name (string-ascii 16)))
  (write-switch name none)
)

;; Writes a tripped breaker and prints it.
(define-private (write-trip (name (string-ascii 16)) (reason (string-ascii 64)))
  (begin
    (map-set breakers name {tripped: true, reason: reason, since-burn: burn-block-height})
    (print (merge (envelope "breaker.tripped") {
      name: name,
      reason: reason,
      since-burn: burn-block-height,
    }))
    true
  )
)

;; Writes what a metric is measured against and prints it; its last value stays.
(define-private (write-metric
    (name (string-ascii 24))
    (module (string-ascii 16))
    (limit uint)
    (breaker (string-ascii 16))
    (proposal (optional uint))
  )
  (let (
      (before (map-get? metrics name))
      (row {module: module, value: (default-to u0 (get value before)), limit: limit, breaker: breaker})
    )
    (asserts! (is-some (map-get? breakers breaker)) ERR-UNKNOWN-SWITCH)
    (map-set metrics name row)
    (print (merge (merge (envelope "metric.set") row) {
      name: name,
      limit-before: (get limit before),
      proposal: proposal,
    }))
    (ok true)
  )
)

;; Writes a tier within the bounds that no proposal can leave, and prints it.
(define-private (write-tier
    (name (string-ascii 16))
    (row {
      strike-min-bp: uint,
      strike-max-bp: uint,
      max-duration-burn: uint,
      premium-mult-bp: uint,
      ratio-min-bp: uint,
      ratio-warn-bp: uint,
      max-policy-bp: uint,
      max-expiry-bp: uint,
      active: bool,
    })
    (proposal (optional uint))
  )
  (let ((names (var-get tier-names)))
    (asserts!
      (and
        (>= (get strike-min-bp row) u5000)
        (< (get strike-min-bp row) (get strike-max-bp row))
        (<= (get strike-max-bp row) u12001)
        (>= (get max-duration-burn row) u1)
        (<= (get max-duration-burn row) u52560)
        (>= (get premium-mult-bp row) u5000)
        (<= (get premium-mult-bp row) u20000)
        (>= (get ratio-min-bp row) BP)
        (>= (get ratio-warn-bp row) (get ratio-min-bp row))
        (<= (get ratio-warn-bp row) u50000)
        (>= (get max-policy-bp row) u1)
        (<= (get max-policy-bp row) BP)
        (>= (get max-expiry-bp row) u1)
        (<= (get max-expiry-bp row) BP)
      )
      ERR-TIER-BOUNDS
    )
    (if (is-none (index-of? names name))
      (var-set tier-names (unwrap! (as-max-len? (append names name) u8) ERR-TOO-MANY-TIERS))
      true
    )
    (map-set tiers name row)
    (print (merge (merge (envelope "tier.set") row) {
      name: name,
      rank: (default-to (len names) (index-of? names name)),
      proposal: proposal,
    }))
    (ok true)
  )
)

;; Writes a collateral token and prints it. What balances are counted in cannot change once set.
(define-private (write-token
    (token principal)
    (row {
      asset: (string-ascii 12),
      asset-name: (string-ascii 128),
      native: bool,
      decimals: uint,
      haircut-bp: uint,
      cap: uint,
      active: bool,
    })
    (proposal (optional uint))
  )
  (begin
    (asserts!
      (and
        (> (len (get asset row)) u0)
        (> (len (get asset-name row)) u0)
        (<= (get decimals row) u10)
        (<= (get haircut-bp row) u5000)
      )
      ERR-TOKEN-BOUNDS
    )
    (asserts!
      (match (map-get? tokens token)
        before (and
          (is-eq (get asset row) (get asset before))
          (is-eq (get asset-name row) (get asset-name before))
          (is-eq (get native row) (get native before))
          (is-eq (get decimals row) (get decimals before))
        )
        true
      )
      ERR-TOKEN-FIXED
    )
    (map-set tokens token row)
    (print (merge (merge (envelope "token.set") row) {token: token, proposal: proposal}))
    (ok true)
  )
)

;; Writes the shares of a premium and prints them.
(define-private (write-fees (provider-bp uint) (platform-bp uint) (reserve-bp uint) (proposal (optional uint)))
  (let ((row {provider-bp: provider-bp, platform-bp: platform-bp, reserve-bp: reserve-bp}))
    (asserts!
      (and
        (>= provider-bp MIN-PROVIDER-BP)
        (<= provider-bp BP)
        (<= platform-bp BP)
        (<= reserve-bp BP)
        (is-eq (+ provider-bp platform-bp reserve-bp) BP)
      )
      ERR-FEES-SUM
    )
    (var-set fees row)
    (print (merge (merge (envelope "fees.set") row) {proposal: proposal}))
    (ok true)
  )
)

;; Writes every row of the first deployment. sbtc is the contract of the sBTC token on this network.
(define-public (bootstrap (sbtc principal))
  (begin
    (try! (check-governance))
    (asserts! (not (var-get bootstrapped)) ERR-PARAMS-BOOTSTRAPPED)
    (var-set bootstrapped true)
    (try! (fold genesis-param
      (list
        {key: "min-duration", kind: "burn", value: u1008, min: u1, max: u12960}
        {key: "expiry-step", kind: "burn", value: u144, min: u1, max: u1008}
        {key: "withdrawal-delay", kind: "burn", value: u144, min: u1, max: u1008}
        {key: "cancel-window", kind: "burn", value: u6, min: u0, max: u144}
        {key: "cancel-fee-bp", kind: "bp", value: u500, min: u0, max: u5000}
        {key: "price-max-age", kind: "burn", value: u6, min: u1, max: u144}
        {key: "round-timeout", kind: "burn", value: u6, min: u1, max: u144}
        {key: "fallback-delay", kind: "burn", value: u144, min: u6, max: u1008}
        {key: "oracle-min-providers", kind: "count", value: u3, min: u1, max: u10}
        {key: "oracle-quorum-bp", kind: "bp", value: u6000, min: u1, max: u10000}
        {key: "oracle-max-deviation-bp", kind: "bp", value: u500, min: u10, max: u5000}
        {key: "vol-lambda-bp", kind: "bp", value: u9400, min: u5000, max: u9999}
        {key: "vol-min-bp", kind: "bp", value: u4000, min: u1000, max: u20000}
        {key: "vol-max-bp", kind: "bp", value: u20000, min: u4000, max: u50000}
        {key: "put-mult-bp", kind: "bp", value: u10000, min: u5000, max: u30000}
        {key: "call-mult-bp", kind: "bp", value: u12000, min: u5000, max: u30000}
        {key: "util-slope-bp", kind: "bp", value: u5000, min: u0, max: u30000}
        {key: "premium-min-bp", kind: "bp", value: u10, min: u0, max: u1000}
        {key: "call-cap-bp", kind: "bp", value: u10000, min: u1000, max: u50000}
        {key: "min-notional-sat", kind: "sat", value: u10000, min: u1, max: u100000000}
        {key: "min-allocation-usd8", kind: "usd8", value: u100000000, min: u1, max: u100000000000}
        {key: "gov-voting-period", kind: "burn", value: u1008, min: u6, max: u8640}
        {key: "gov-timelock", kind: "burn", value: u288, min: u2, max: u4320}
        {key: "gov-grace", kind: "burn", value: u1008, min: u6, max: u8640}
        {key: "gov-quorum-bp", kind: "bp", value: u2000, min: u500, max: u8000}
        {key: "gov-pass-bp", kind: "bp", value: u5100, min: u5001, max: u9000}
        {key: "gov-threshold-bp", kind: "bp", value: u100, min: u1, max: u2000}
        {key: "gov-min-stake", kind: "amt", value: u1000000000000, min: u1, max: u1000000000000000000000000}
        {key: "root-challenge", kind: "burn", value: u144, min: u1, max: u1008}
        {key: "soft-call-window", kind: "burn", value: u432, min: u1, max: u4320}
        {key: "hard-call-window", kind: "burn", value: u144, min: u1, max: u1008}
        {key: "liquidation-penalty-bp", kind: "bp", value: u500, min: u0, max: u2000}
        {key: "liquidation-bounty-bp", kind: "bp", value: u100, min: u0, max: u500}
        {key: "takeover-load-bp", kind: "bp", value: u1000, min: u0, max: u5000}
        {key: "takeover-min-duration", kind: "burn", value: u144, min: u1, max: u4320}
        {key: "fund-event-cap-bp", kind: "bp", value: u2500, min: u1, max: u10000}
        {key: "fund-warning-bp", kind: "bp", value: u5000, min: u1, max: u10000}
        {key: "fund-critical-bp", kind: "bp", value: u10000, min: u1, max: u100000}
      )
      (ok true)
    ))
    (map genesis-switch (list "create" "exercise" "cancel" "deposit" "withdraw" "oracle" "liquidate" "cover"))
    (try! (write-metric "fund-used-bp" "fund" BP "create" none))
    (try! (write-tier "conservative"
      {
        strike-min-bp: u7000,
        strike-max-bp: u8000,
        max-duration-burn: u4320,
        premium-mult-bp: u8000,
        ratio-min-bp: u11000,
        ratio-warn-bp: u11500,
        max-policy-bp: u2500,
        max-expiry-bp: u2500,
        active: true,
      }
      none
    ))
    (try! (write-tier "balanced"
      {
        strike-min-bp: u8000,
        strike-max-bp: u9000,
        max-duration-burn: u8640,
        premium-mult-bp: u10000,
        ratio-min-bp: u12000,
        ratio-warn-bp: u12500,
        max-policy-bp: u3300,
        max-expiry-bp: u3300,
        active: true,
      }
      none
    ))
    (try! (write-tier "aggressive"
      {
        strike-min-bp: u9000,
        strike-max-bp: u10001,
        max-duration-burn: u12960,
        premium-mult-bp: u12000,
        ratio-min-bp: u13000,
        ratio-warn-bp: u13500,
        max-policy-bp: u5000,
        max-expiry-bp: u5000,
        active: true,
      }
      none
    ))
    (try! (write-token .bh-stx
      {
        asset: "STX",
        asset-name: "stx",
        native: true,
        decimals: u6,
        haircut-bp: u1000,
        cap: u10000000000000,
        active: true,
      }
      none
    ))
    (try! (write-token sbtc
      {
        asset: "BTC",
        asset-name: "sbtc-token",
        native: false,
        decimals: u8,
        haircut-bp: u0,
        cap: u50000000000,
        active: true,
      }
      none
    ))
    (write-fees u9000 u600 u400 none)
  )
)

;; Changes parameters within their bounds, all or none.
(define-public (set-params
    (changes (list 24 {key: (string-ascii 24), value: uint}))
    (proposal (optional uint))
  )
  (begin
    (try! (check-governance))
    (get result (fold change-param changes {proposal: proposal, result: (ok true)}))
  )
)

;; Adds a parameter that a later module needs, with the bounds it keeps for ever.
(define-public (add-param
    (key (string-ascii 24))
    (kind (string-ascii 8))
    (value uint)
    (min uint)
    (max uint)
    (proposal (optional uint))
  )
  (begin
    (try! (check-governance))
    (asserts! (is-none (map-get? params key)) ERR-PARAM-EXISTS)
    (write-param key {kind: kind, value: value, min: min, max: max} proposal)
  )
)

;; Sets governance's half of a switch.
(define-public (set-flag (name (string-ascii 16)) (on bool) (proposal (optional uint)))
  (begin
    (try! (check-governance))
    (asserts! (is-some (map-get? flags name)) ERR-UNKNOWN-SWITCH)
    (ok (write-flag name on proposal))
  )
)

;; Adds a switch that a later module needs, on and not tripped.
(define-public (add-switch (name (string-ascii 16)) (proposal (optional uint)))
  (begin
    (try! (check-governance))
    (asserts! (is-none (map-get? flags name)) ERR-SWITCH-EXISTS)
    (ok (write-switch name proposal))
  )
)

;; Stops what a switch guards, until governance resets the breaker.
(define-public (trip-breaker (name (string-ascii 16)) (reason (string-ascii 64)))
  (begin
    (asserts! (contract-call? .bh-registry has-role "guardian" contract-caller) ERR-NOT-GUARDIAN)
    (asserts! (is-some (map-get? breakers name)) ERR-UNKNOWN-SWITCH)
    (asserts! (not (is-tripped name)) ERR-BREAKER-STATE)
    (ok (write-trip name reason))
  )
)

;; Records a figure of the calling module; above its limit the metric's breaker trips, until governance resets it.
(define-public (report-metric (name (string-ascii 24)) (value uint))
  (let (
      (row (unwrap! (map-get? metrics name) ERR-UNKNOWN-METRIC))
      (breaker (get breaker row))
    )
    (asserts! (contract-call? .bh-registry is-active (get module row) contract-caller) ERR-NOT-METRIC-MODULE)
    (map-set metrics name (merge row {value: value}))
    (print (merge (merge (envelope "metric.reported") row) {
      name: name,
      value: value,
      value-before: (get value row),
    }))
    (ok (and
      (> value (get limit row))
      (not (is-tripped breaker))
      (write-trip breaker (concat "above its limit: " name))
    ))
  )
)

;; Sets the limit of a metric and the breaker that it trips, for a figure that a module reports or will report.
(define-public (set-metric
    (name (string-ascii 24))
    (module (string-ascii 16))
    (limit uint)
    (breaker (string-ascii 16))
    (proposal (optional uint))
  )
  (begin
    (try! (check-governance))
    (write-metric name module limit breaker proposal)
  )
)

;; Lets what a breaker stopped go on.
(define-public (reset-breaker (name (string-ascii 16)) (proposal (optional uint)))
  (begin
    (try! (check-governance))
    (asserts! (is-some (map-get? breakers name)) ERR-UNKNOWN-SWITCH)
    (asserts! (is-tripped name) ERR-BREAKER-STATE)
    (ok (clear-breaker name proposal))
  )
)

;; Adds or changes a risk tier.
(define-public (set-tier
    (name (string-ascii 16))
    (row {
      strike-min-bp: uint,
      strike-max-bp: uint,
      max-duration-burn: uint,
      premium-mult-bp: uint,
      ratio-min-bp: uint,
      ratio-warn-bp: uint,
      max-policy-bp: uint,
      max-expiry-bp: uint,
      active: bool,
    })
    (proposal (optional uint))
  )
  (begin
    (try! (check-governance))
    (write-tier name row proposal)
  )
)

;; Adds or changes a collateral token.
(define-public (set-token
    (token principal)
    (row {
      asset: (string-ascii 12),
      asset-name: (string-ascii 128),
      native: bool,
      decimals: uint,
      haircut-bp: uint,
      cap: uint,
      active: bool,
    })
    (proposal (optional uint))
  )
  (begin
    (try! (check-governance))
    (write-token token row proposal)
  )
)

;; Sets the shares of a premium.
(define-public (set-fees
    (provider-bp uint)
    (platform-bp uint)
    (reserve-bp uint)
    (proposal (optional uint))
  )
  (begin
    (try! (check-governance))
    (write-fees provider-bp platform-bp reserve-bp proposal)
  )
)
