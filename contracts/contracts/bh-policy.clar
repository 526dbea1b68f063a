;; PUT and CALL policies on the price of BTC: created against providers' locked collateral, settled at a price that the
;; oracle fixed once for the expiry height. Anyone may settle; nobody chooses the price.

(use-trait sip010 .bh-traits.token)

;; Switch create is off.
(define-constant ERR-CREATE-CLOSED (err u6001))
;; Type is not put or call.
(define-constant ERR-BAD-TYPE (err u6002))
;; Style is not european or american.
(define-constant ERR-BAD-STYLE (err u6003))
;; Asset cannot be insured.
(define-constant ERR-NOT-INSURABLE (err u6004))
;; Collateral token unknown or not active.
(define-constant ERR-BAD-TOKEN (err u6005))
;; Notional below the minimum.
(define-constant ERR-MIN-NOTIONAL (err u6006))
;; Expiry too near.
(define-constant ERR-MIN-DURATION (err u6007))
;; Expiry not a multiple of expiry-step.
(define-constant ERR-EXPIRY-STEP (err u6008))
;; No tier takes this strike and duration.
(define-constant ERR-NO-TIER (err u6009))
;; Premium above max-premium.
(define-constant ERR-MAX-PREMIUM (err u6010))
;; No such policy.
(define-constant ERR-UNKNOWN-POLICY (err u6011))
;; Policy already ended.
(define-constant ERR-NOT-ACTIVE (err u6012))
;; Expiry not reached.
(define-constant ERR-NOT-EXPIRED (err u6013))
;; Expiry price of the asset or of the token's asset not fixed.
(define-constant ERR-PRICE-NOT-FIXED (err u6014))
;; Caller does not own the policy.
(define-constant ERR-NOT-OWNER (err u6015))
;; Switch exercise is off.
(define-constant ERR-EXERCISE-CLOSED (err u6016))
;; A european policy has no early exercise.
(define-constant ERR-EUROPEAN (err u6017))
;; Exercise at or after expiry.
(define-constant ERR-EXPIRED (err u6018))
;; Price's round opened at or before the policy's creation.
(define-constant ERR-ROUND-TOO-OLD (err u6019))
;; Exercise would pay nothing.
(define-constant ERR-OUT-OF-MONEY (err u6020))
;; Switch cancel is off.
(define-constant ERR-CANCEL-CLOSED (err u6021))
;; Cancel window is over.
(define-constant ERR-CANCEL-WINDOW (err u6022))
;; Cancel of a policy that is in the money.
(define-constant ERR-IN-MONEY (err u6023))
;; Caller is not the active fund module.
(define-constant ERR-NOT-FUND-MODULE (err u6024))
;; Reduction is zero or above what is unpaid.
(define-constant ERR-UNPAID (err u6025))
;; Strike above 10^18 usd8 or notional above 10^13 sat.
(define-constant ERR-TERMS-TOO-LARGE (err u6026))
;; Exercise or cancel in the Stacks block of the policy's creation.
(define-constant ERR-CREATION-BLOCK (err u6027))
;; Claim on a policy of which nothing is unpaid.
(define-constant ERR-NOTHING-UNPAID (err u6028))
;; Policy already has a claim.
(define-constant ERR-CLAIM-EXISTS (err u6029))
;; Policy has no open claim.
(define-constant ERR-NO-CLAIM (err u6030))
;; Caller lacks the arbiter role.
(define-constant ERR-NOT-ARBITER (err u6031))
;; Approved amount is above what is unpaid.
(define-constant ERR-CLAIM-AMOUNT (err u6032))

(define-constant BP u10000)
;; Highest strike, in usd8, and notional, in sat, that every later product still fits in 128 bits with.
(define-constant MAX-STRIKE u1000000000000000000)
(define-constant MAX-NOTIONAL u10000000000000)

;; Number of the last event.
(define-data-var seq uint u0)
;; Id of the last policy.
(define-data-var last-policy uint u0)

;; Every policy ever made. paid is in the token's base units, unpaid-usd8 what collateral could not cover.
(define-map policies
  uint
  {
    owner: principal,
    type: (string-ascii 4),
    style: (string-ascii 8),
    tier: (string-ascii 16),
    asset: (string-ascii 12),
    token: principal,
    strike-usd8: uint,
    notional-sat: uint,
    max-payout-usd8: uint,
    collateral: uint,
    created-burn: uint,
    created-stacks: uint,
    expiry-burn: uint,
    cancel-until-burn: uint,
    state: (string-ascii 12),
    paid: uint,
    unpaid-usd8: uint,
  }
)
;; Claims of owners on what stayed unpaid: unpaid-usd8 is what that was when the claim was opened, and from its
;; resolution on what it was then; approved-usd8 lifts the fund's cap per event, and nothing else.
(define-map claims
  uint
  {
    state: (string-ascii 8),
    unpaid-usd8: uint,
    approved-usd8: uint,
    opened-burn: uint,
    resolved-burn: uint,
    reason-hash: (buff 32),
    resolution-hash: (optional (buff 32)),
  }
)

;; Fields common to all events; counts the event.
(define-private (envelope (topic (string-ascii 40)))
  (let ((number (+ (var-get seq) u1)))
    (var-set seq number)
    {topic: topic, v: u1, seq: number, actor: tx-sender, caller: contract-caller}
  )
)

;; The row of a policy.
(define-read-only (get-policy (policy uint))
  (map-get? policies policy)
)

;; The claim on a policy's unpaid remainder.
(define-read-only (get-claim (policy uint))
  (map-get? claims policy)
)

;; What an approved claim still lets the fund pay beyond its own cap per event, in usd8; 0 without one.
(define-read-only (claim-allowance (policy uint))
  (match (map-get? claims policy)
    claim (let (
        (unpaid (default-to u0 (get unpaid-usd8 (map-get? policies policy))))
        (refused (- (get unpaid-usd8 claim) (get approved-usd8 claim)))
      )
      (if (and (is-eq (get state claim) "approved") (> unpaid refused)) (- unpaid refused) u0)
    )
    u0
  )
)

;; Id of the last policy; ids start at 1.
(define-read-only (get-last-policy)
  (var-get last-policy)
)

;; Number of the last event.
(define-read-only (get-seq)
  (var-get seq)
)

;; Terms of a policy that a user makes now: its tier, premium and its parts, maximum payout, and everything they were
;; computed from. The user's discount comes off the platform's part of the premium and off nothing else.
(define-read-only (quote
    (type (string-ascii 4))
    (asset (string-ascii 12))
    (strike-usd8 uint)
    (notional-sat uint)
    (expiry-burn uint)
    (token principal)
    (user principal)
  )
  (let (
      (is-put (is-eq type "put"))
      (is-known-type (asserts! (or is-put (is-eq type "call")) ERR-BAD-TYPE))
      (asset-row (unwrap! (contract-call? .bh-oracle get-asset asset) ERR-NOT-INSURABLE))
      (is-insurable (asserts! (get insurable asset-row) ERR-NOT-INSURABLE))
      (token-row (unwrap! (contract-call? .bh-params get-token token) ERR-BAD-TOKEN))
      (is-token-active (asserts! (get active token-row) ERR-BAD-TOKEN))
      (min-notional (try! (contract-call? .bh-params get-param "min-notional-sat")))
      (is-large-enough (asserts! (>= notional-sat min-notional) ERR-MIN-NOTIONAL))
      (is-in-range (asserts!
        (and (<= strike-usd8 MAX-STRIKE) (<= notional-sat MAX-NOTIONAL))
        ERR-TERMS-TOO-LARGE
      ))
      (min-duration (try! (contract-call? .bh-params get-param "min-duration")))
      (is-long-enough (asserts! (>= expiry-burn (+ burn-block-height min-duration)) ERR-MIN-DURATION))
      (expiry-step (try! (contract-call? .bh-params get-param "expiry-step")))
      (is-on-step (asserts! (is-eq (mod expiry-burn expiry-step) u0) ERR-EXPIRY-STEP))
      (spot (try! (contract-call? .bh-oracle get-fresh-price asset)))
      (token-price (try! (contract-call? .bh-oracle get-fresh-price (get asset token-row))))
      (vol-bp (try! (contract-call? .bh-oracle get-volatility-bp asset)))
      (duration (- expiry-burn burn-block-height))
      (tier (unwrap!
        (contract-call? .bh-params classify type strike-usd8 (get price-usd8 spot) duration)
        ERR-NO-TIER
      ))
      (tier-row (unwrap! (contract-call? .bh-params get-tier tier) ERR-NO-TIER))
      (pool (contract-call? .bh-vault get-pool tier token))
      (capital (+ (get available pool) (get locked pool)))
      (util-bp (if (is-eq capital u0) u0 (/ (* (get locked pool) BP) capital)))
      (util-slope (try! (contract-call? .bh-params get-param "util-slope-bp")))
      (premium-usd8 (contract-call? .bh-math premium-usd8 {
        type: type,
        spot-usd8: (get price-usd8 spot),
        strike-usd8: strike-usd8,
        notional-sat: notional-sat,
        vol-bp: vol-bp,
        duration-burn: duration,
        type-mult-bp: (try! (contract-call? .bh-params get-param (if is-put "put-mult-bp" "call-mult-bp"))),
        tier-mult-bp: (get premium-mult-bp tier-row),
        util-mult-bp: (+ BP (/ (* util-slope util-bp) BP)),
        floor-bp: (try! (contract-call? .bh-params get-param "premium-min-bp")),
      }))
      (whole (contract-call? .bh-math tokens-up premium-usd8 (get decimals token-row) (get price-usd8 token-price)))
      (fees (contract-call? .bh-params get-fees))
      (fee-whole (/ (* whole (get platform-bp fees)) BP))
      (fee-platform (contract-call? .bh-treasury discounted-fee user fee-whole))
      (fee-reserve (/ (* whole (get reserve-bp fees)) BP))
      (call-cap (try! (contract-call? .bh-params get-param "call-cap-bp")))
    )
    (ok {
      tier: tier,
      spot-usd8: (get price-usd8 spot),
      round: (get round spot),
      token-price-usd8: (get price-usd8 token-price),
      token-round: (get round token-price),
      vol-bp: vol-bp,
      util-bp: util-bp,
      premium-usd8: premium-usd8,
      premium: (- whole (- fee-whole fee-platform)),
      discount: (- fee-whole fee-platform),
      fee-platform: fee-platform,
      fee-reserve: fee-reserve,
      premium-provider: (- whole fee-whole fee-reserve),
      max-payout-usd8: (contract-call? .bh-math max-payout-usd8 type strike-usd8 notional-sat call-cap),
    })
  )
)

;; Makes a policy for the caller: takes the premium and locks the providers' collateral. Gives the policy's id.
(define-public (create-policy
    (type (string-ascii 4))
    (style (string-ascii 8))
    (asset (string-ascii 12))
    (strike-usd8 uint)
    (notional-sat uint)
    (expiry-burn uint)
    (max-premium uint)
    (token <sip010>)
    (allocations (list 10 {provider: principal, liability-usd8: uint}))
  )
  (let (
      (token-id (contract-of token))
      (policy (+ (var-get last-policy) u1))
      (is-open (asserts! (contract-call? .bh-params is-open "create") ERR-CREATE-CLOSED))
      (is-known-style (asserts! (or (is-eq style "european") (is-eq style "american")) ERR-BAD-STYLE))
      (terms (try! (quote type asset strike-usd8 notional-sat expiry-burn token-id contract-caller)))
      (is-affordable (asserts! (<= (get premium terms) max-premium) ERR-MAX-PREMIUM))
      (fee-platform (try! (contract-call? .bh-treasury use-discount contract-caller
        (+ (get fee-platform terms) (get discount terms))
      )))
      (cancel-until-burn (+ burn-block-height (try! (contract-call? .bh-params get-param "cancel-window"))))
      (collateral (try! (contract-call? .bh-vault lock policy contract-caller token
        {
          tier: (get tier terms),
          expiry-burn: expiry-burn,
          max-payout-usd8: (get max-payout-usd8 terms),
          price-usd8: (get token-price-usd8 terms),
        }
        {
          platform: fee-platform,
          reserve: (get fee-reserve terms),
          provider: (get premium-provider terms),
        }
        allocations
      )))
      (row {
        owner: contract-caller,
        type: type,
        style: style,
        tier: (get tier terms),
        asset: asset,
        token: token-id,
        strike-usd8: strike-usd8,
        notional-sat: notional-sat,
        max-payout-usd8: (get max-payout-usd8 terms),
        collateral: collateral,
        created-burn: burn-block-height,
        created-stacks: stacks-block-height,
        expiry-burn: expiry-burn,
        cancel-until-burn: cancel-until-burn,
      })
    )
    (var-set last-policy policy)
    (map-set policies policy (merge row {state: "active", paid: u0, unpaid-usd8: u0}))
    (print (merge (merge (merge (envelope "policy.created") row) terms) {policy: policy}))
    (ok policy)
  )
)

;; Ends a policy at a price of its asset and a price of its token. The vault's call is the only step that can fail, and
;; nothing is written before it, so that one policy of a batch fails alone. Gives 0, or the error's number.
(define-private (end-policy
    (policy uint)
    (token <sip010>)
    (row {
      owner: principal,
      type: (string-ascii 4),
      style: (string-ascii 8),
      tier: (string-ascii 16),
      asset: (string-ascii 12),
      token: principal,
      strike-usd8: uint,
      notional-sat: uint,
      max-payout-usd8: uint,
      collateral: uint,
      created-burn: uint,
      created-stacks: uint,
      expiry-burn: uint,
      cancel-until-burn: uint,
      state: (string-ascii 12),
      paid: uint,
      unpaid-usd8: uint,
    })
    (price {round: uint, price-usd8: uint})
    (token-price {round: uint, price-usd8: uint})
    (decimals uint)
    (is-exercise bool)
  )
  (let (
      (payoff (contract-call? .bh-math payoff-usd8 (get type row) (get strike-usd8 row) (get price-usd8 price)
        (get notional-sat row) (get max-payout-usd8 row)
      ))
      (due (contract-call? .bh-math tokens-down payoff decimals (get price-usd8 token-price)))
    )
    (match (contract-call? .bh-vault settle policy token (get owner row) due)
      paid (let (
          (unpaid (if (is-eq paid due)
            u0
            (- payoff (contract-call? .bh-math value-usd8 paid decimals (get price-usd8 token-price)))
          ))
        )
        (map-set policies policy
          (merge row {
            state: (if is-exercise "exercised" (if (> payoff u0) "settled-itm" "expired-otm")),
            paid: paid,
            unpaid-usd8: unpaid,
          })
        )
        (if (> payoff u0)
          (begin
            (print (merge (envelope (if is-exercise "policy.exercised" "policy.settled-itm")) {
              policy: policy,
              owner: (get owner row),
              token: (get token row),
              round: (get round price),
              price-usd8: (get price-usd8 price),
              token-round: (get round token-price),
              token-price-usd8: (get price-usd8 token-price),
              payoff-usd8: payoff,
              paid: paid,
              unpaid-usd8: unpaid,
              settled-burn: burn-block-height,
            }))
            u0
          )
          (begin
            (print (merge (envelope "policy.expired-otm") {
              policy: policy,
              owner: (get owner row),
              token: (get token row),
              round: (get round price),
              price-usd8: (get price-usd8 price),
              settled-burn: burn-block-height,
            }))
            u0
          )
        )
      )
      code code
    )
  )
)

;; Settles one expired policy. Gives 0, or the error's number with nothing changed.
(define-private (settle-one (policy uint) (token <sip010>))
  (match (expiry-terms policy)
    terms (end-policy policy token (get row terms) (get price terms) (get token-price terms)
      (get decimals terms) false
    )
    code code
  )
)

;; An active, expired policy with the two prices that were fixed for its expiry.
(define-private (expiry-terms (policy uint))
  (let (
      (row (unwrap! (map-get? policies policy) ERR-UNKNOWN-POLICY))
      (token-row (unwrap! (contract-call? .bh-params get-token (get token row)) ERR-BAD-TOKEN))
      (expiry (get expiry-burn row))
    )
    (asserts! (is-eq (get state row) "active") ERR-NOT-ACTIVE)
    (asserts! (>= burn-block-height expiry) ERR-NOT-EXPIRED)
    (ok {
      row: row,
      price: (unwrap! (contract-call? .bh-oracle get-expiry-price (get asset row) expiry) ERR-PRICE-NOT-FIXED),
      token-price: (unwrap! (contract-call? .bh-oracle get-expiry-price (get asset token-row) expiry) ERR-PRICE-NOT-FIXED),
      decimals: (get decimals token-row),
    })
  )
)

;; Settles an expired policy at the fixed prices of its expiry.
(define-public (settle (policy uint) (token <sip010>))
  (let ((code (settle-one policy token)))
    (if (is-eq code u0) (ok true) (err code))
  )
)

;; Settles one item of a batch and says what became of it.
(define-private (settle-item (item {policy: uint, token: <sip010>}))
  (let ((token (get token item)))
    {policy: (get policy item), error: (settle-one (get policy item) token)}
  )
)

;; Settles up to 20 expired policies; an item that fails changes nothing and does not stop the others.
(define-public (settle-many (items (list 20 {policy: uint, token: <sip010>})))
  (ok (map settle-item items))
)

;; A fresh price of an asset from a round that opened after a burn height.
(define-private (price-after (asset (string-ascii 12)) (burn uint))
  (let ((price (try! (contract-call? .bh-oracle get-fresh-price asset))))
    (asserts! (> (get opened-burn price) burn) ERR-ROUND-TOO-OLD)
    (ok {round: (get round price), price-usd8: (get price-usd8 price)})
  )
)

;; The owner's early exercise of an american policy at the current price.
(define-public (exercise (policy uint) (token <sip010>))
  (let (
      (row (unwrap! (map-get? policies policy) ERR-UNKNOWN-POLICY))
      (token-row (unwrap! (contract-call? .bh-params get-token (get token row)) ERR-BAD-TOKEN))
      (is-owner (asserts! (is-eq contract-caller (get owner row)) ERR-NOT-OWNER))
      (is-open (asserts! (contract-call? .bh-params is-open "exercise") ERR-EXERCISE-CLOSED))
      (is-active (asserts! (is-eq (get state row) "active") ERR-NOT-ACTIVE))
      (is-american (asserts! (is-eq (get style row) "american") ERR-EUROPEAN))
      (is-alive (asserts! (< burn-block-height (get expiry-burn row)) ERR-EXPIRED))
      (is-later (asserts! (> stacks-block-height (get created-stacks row)) ERR-CREATION-BLOCK))
      (price (try! (price-after (get asset row) (get created-burn row))))
      (token-price (try! (price-after (get asset token-row) (get created-burn row))))
      (payoff (contract-call? .bh-math payoff-usd8 (get type row) (get strike-usd8 row) (get price-usd8 price)
        (get notional-sat row) (get max-payout-usd8 row)
      ))
      (is-in-money (asserts! (> payoff u0) ERR-OUT-OF-MONEY))
      (code (end-policy policy token row price token-price (get decimals token-row) true))
    )
    (if (is-eq code u0) (ok true) (err code))
  )
)

;; Takes a new policy back inside its cancel window while it is out of the money; the owner gets the providers' part of the
;; premium less a fee.
(define-public (cancel (policy uint) (token <sip010>))
  (let (
      (row (unwrap! (map-get? policies policy) ERR-UNKNOWN-POLICY))
      (is-owner (asserts! (is-eq contract-caller (get owner row)) ERR-NOT-OWNER))
      (is-open (asserts! (contract-call? .bh-params is-open "cancel") ERR-CANCEL-CLOSED))
      (is-active (asserts! (is-eq (get state row) "active") ERR-NOT-ACTIVE))
      (is-early (asserts! (<= burn-block-height (get cancel-until-burn row)) ERR-CANCEL-WINDOW))
      (is-later (asserts! (> stacks-block-height (get created-stacks row)) ERR-CREATION-BLOCK))
      (price (try! (contract-call? .bh-oracle get-fresh-price (get asset row))))
      (is-out (asserts!
        (is-eq (contract-call? .bh-math intrinsic-usd8 (get type row) (get strike-usd8 row) (get price-usd8 price)) u0)
        ERR-IN-MONEY
      ))
      (fee-bp (try! (contract-call? .bh-params get-param "cancel-fee-bp")))
      (result (try! (contract-call? .bh-vault refund policy token contract-caller fee-bp)))
    )
    (map-set policies policy (merge row {state: "cancelled"}))
    (print (merge (envelope "policy.cancelled") {
      policy: policy,
      owner: contract-caller,
      token: (get token row),
      refund: (get refund result),
      fee: (get fee result),
      settled-burn: burn-block-height,
    }))
    (ok true)
  )
)

;; Records that the fund paid an owner part of what collateral could not cover. Gives what is left.
(define-public (reduce-unpaid (policy uint) (usd8 uint))
  (let (
      (row (unwrap! (map-get? policies policy) ERR-UNKNOWN-POLICY))
      (before (get unpaid-usd8 row))
      (is-fund (asserts! (contract-call? .bh-registry is-active "fund" contract-caller) ERR-NOT-FUND-MODULE))
      (is-owed (asserts! (and (> usd8 u0) (<= usd8 before)) ERR-UNPAID))
      (after (- before usd8))
    )
    (map-set policies policy (merge row {unpaid-usd8: after}))
    (print (merge (envelope "remainder.covered") {
      policy: policy,
      by: contract-caller,
      usd8: usd8,
      unpaid-usd8-before: before,
      unpaid-usd8-after: after,
    }))
    (ok after)
  )
)

;; The owner's claim on what stayed unpaid, with the hash of its reasons; one per policy.
(define-public (open-claim (policy uint) (reason-hash (buff 32)))
  (let (
      (row (unwrap! (map-get? policies policy) ERR-UNKNOWN-POLICY))
      (unpaid (get unpaid-usd8 row))
    )
    (asserts! (is-eq contract-caller (get owner row)) ERR-NOT-OWNER)
    (asserts! (> unpaid u0) ERR-NOTHING-UNPAID)
    (asserts!
      (map-insert claims policy {
        state: "open",
        unpaid-usd8: unpaid,
        approved-usd8: u0,
        opened-burn: burn-block-height,
        resolved-burn: u0,
        reason-hash: reason-hash,
        resolution-hash: none,
      })
      ERR-CLAIM-EXISTS
    )
    (print (merge (envelope "claim.opened") {
      policy: policy,
      owner: contract-caller,
      unpaid-usd8: unpaid,
      reason-hash: reason-hash,
      opened-burn: burn-block-height,
    }))
    (ok true)
  )
)

;; An arbiter's decision on an open claim, with the hash of its reasons: how much of what is unpaid now the fund may pay
;; beyond its cap per event. 0 rejects the claim.
(define-public (resolve-claim (policy uint) (approved-usd8 uint) (reason-hash (buff 32)))
  (let (
      (is-arbiter (asserts! (contract-call? .bh-registry has-role "arbiter" contract-caller) ERR-NOT-ARBITER))
      (row (unwrap! (map-get? policies policy) ERR-UNKNOWN-POLICY))
      (claim (unwrap! (map-get? claims policy) ERR-NO-CLAIM))
      (unpaid (get unpaid-usd8 row))
      (state (if (> approved-usd8 u0) "approved" "rejected"))
    )
    (asserts! (is-eq (get state claim) "open") ERR-NO-CLAIM)
    (asserts! (<= approved-usd8 unpaid) ERR-CLAIM-AMOUNT)
    (map-set claims policy
      (merge claim {
        state: state,
        unpaid-usd8: unpaid,
        approved-usd8: approved-usd8,
        resolved-burn: burn-block-height,
        resolution-hash: (some reason-hash),
      })
    )
    (print (merge (envelope "claim.resolved") {
      policy: policy,
      owner: (get owner row),
      by: contract-caller,
      state: state,
      unpaid-usd8: unpaid,
      approved-usd8: approved-usd8,
      reason-hash: reason-hash,
      resolved-burn: burn-block-height,
    }))
    (ok true)
  )
)
