;; The insurance fund: it pays owners what collateral could not cover, within caps, and takes allocations of failing
;; positions over with capital that it keeps in the vault like any provider. Its money goes nowhere else but to the fund that
;; replaces it.

(use-trait sip010 .bh-traits.token)

;; Caller lacks the governance role.
(define-constant ERR-FUND-NOT-GOVERNANCE (err u8001))
;; Caller has neither the governance nor the fund-manager role.
(define-constant ERR-NOT-FUND-MANAGER (err u8002))
;; Token not in the token table.
(define-constant ERR-FUND-TOKEN (err u8003))
;; No such tier.
(define-constant ERR-FUND-TIER (err u8004))
;; Amount is zero.
(define-constant ERR-FUND-ZERO-AMOUNT (err u8005))
;; Token transfer failed or moved more than it was allowed.
(define-constant ERR-FUND-TRANSFER (err u8006))
;; Switch cover is off.
(define-constant ERR-COVER-CLOSED (err u8007))
;; Nothing of the policy is unpaid.
(define-constant ERR-COVER-NOT-DUE (err u8008))
;; The policy's cap, the tier's cover or the fund's balance is used up.
(define-constant ERR-COVER-USED-UP (err u8009))
;; Amount above what the fund owns beyond the cover it promised.
(define-constant ERR-FUND-PROMISED (err u8010))
;; Promised cover has reached the critical share of the fund's balance.
(define-constant ERR-FUND-CRITICAL (err u8011))
;; Caller is not the active liquidation module.
(define-constant ERR-FUND-NOT-LIQUIDATION (err u8012))
;; Take-over would leave the fund more liability than it may have.
(define-constant ERR-TAKEOVER-LIABILITY (err u8013))
;; Policy expires too soon to be taken over.
(define-constant ERR-TAKEOVER-DURATION (err u8014))
;; Collateral cannot pay the take-over's whole price.
(define-constant ERR-TAKEOVER-PRICE (err u8015))
;; One policy would bind too large a share of the fund's capital.
(define-constant ERR-TAKEOVER-SHARE (err u8016))
;; Token already has an open recovery plan.
(define-constant ERR-RECOVERY-OPEN (err u8017))
;; No such recovery plan, or it has ended.
(define-constant ERR-NO-RECOVERY (err u8018))
;; Target is zero, or duration not from 1 to 52560.
(define-constant ERR-RECOVERY-TERMS (err u8019))
;; Contribution above what the plan still lacks, or after its end.
(define-constant ERR-RECOVERY-CLOSED (err u8020))
;; Plan has neither reached its target nor its end.
(define-constant ERR-RECOVERY-RUNNING (err u8021))
;; The fund owns no more of the token than it has booked.
(define-constant ERR-NO-SURPLUS (err u8022))
;; Fund is the active one, or its successor's delay is not over.
(define-constant ERR-FUND-SUCCESSOR (err u8023))

(define-constant BP u10000)
;; Longest recovery plan: a year of Bitcoin blocks.
(define-constant MAX-RECOVERY u52560)
;; What used-bp says at most, and of a promise without any balance.
(define-constant MAX-USED-BP u1000000)

;; Number of the last event.
(define-data-var seq uint u0)
;; Id of the last recovery plan.
(define-data-var last-plan uint u0)

;; What the fund itself owns of a token, and how much of it is promised to tiers. What it has in the vault is the
;; position and the yield of this contract there.
(define-map holdings principal {balance: uint, cover: uint})
;; How the fund stands in a token: normal, warning, critical or recovery; without a row, normal.
(define-map states principal (string-ascii 8))
;; What the fund will still pay for a tier's policies in a token, and the most liability that it takes over there.
(define-map covers
  {tier: (string-ascii 16), token: principal}
  {left: uint, max-liability-usd8: uint}
)
;; What the fund has paid for a policy in a token.
(define-map payments {policy: uint, token: principal} uint)
;; What the fund has taken over of a policy: liability, and collateral locked for it.
(define-map takeovers uint {liability-usd8: uint, collateral: uint})
;; Plans to fill the fund up; state is open, completed or failed.
(define-map plans
  uint
  {token: principal, target: uint, raised: uint, ends-burn: uint, state: (string-ascii 9)}
)
;; The open plan of a token.
(define-map open-plans principal uint)

;; Fields common to all events; counts the event.
(define-private (envelope (topic (string-ascii 40)))
  (let ((number (+ (var-get seq) u1)))
    (var-set seq number)
    {topic: topic, v: u1, seq: number, actor: tx-sender, caller: contract-caller}
  )
)

;; Fails unless the caller holds the governance role.
(define-private (check-governance)
  (ok (asserts! (contract-call? .bh-registry has-role "governance" contract-caller) ERR-FUND-NOT-GOVERNANCE))
)

;; Fails unless the caller may place the fund's capital in the vault.
(define-private (check-manager)
  (ok (asserts!
    (or
      (contract-call? .bh-registry has-role "governance" contract-caller)
      (contract-call? .bh-registry has-role "fund-manager" contract-caller)
    )
    ERR-NOT-FUND-MANAGER
  ))
)

;; What the fund itself owns of a token, and how much of it is promised.
(define-read-only (get-holding (token principal))
  (default-to {balance: u0, cover: u0} (map-get? holdings token))
)

;; How the fund stands in a token.
(define-read-only (get-state (token principal))
  (default-to "normal" (map-get? states token))
)

;; What the fund will still pay for a tier's policies in a token, and the most liability that it takes over there.
(define-read-only (get-cover (tier (string-ascii 16)) (token principal))
  (default-to {left: u0, max-liability-usd8: u0} (map-get? covers {tier: tier, token: token}))
)

;; What the fund has paid for a policy in a token.
(define-read-only (get-payment (policy uint) (token principal))
  (default-to u0 (map-get? payments {policy: policy, token: token}))
)

;; What the fund has taken over of a policy.
(define-read-only (get-takeover (policy uint))
  (default-to {liability-usd8: u0, collateral: u0} (map-get? takeovers policy))
)

;; The row of a recovery plan.
(define-read-only (get-plan (plan uint))
  (map-get? plans plan)
)

;; The open recovery plan of a token.
(define-read-only (get-open-plan (token principal))
  (map-get? open-plans token)
)

;; Promised cover over the fund's balance of a token.
(define-read-only (get-used-bp (token principal))
  (let ((row (get-holding token)))
    (if (is-eq (get cover row) u0)
      u0
      (if (>= (get cover row) (* (get balance row) (/ MAX-USED-BP BP)))
        MAX-USED-BP
        (/ (* (get cover row) BP) (get balance row))
      )
    )
  )
)

;; Number of the last event.
(define-read-only (get-seq)
  (var-get seq)
)

;; The lesser of two amounts.
(define-private (least (a uint) (b uint))
  (if (< a b) a b)
)

;; Moves tokens from their owner into the fund; the token can take no more than that from the owner.
(define-private (pull (token <sip010>) (amt uint) (from principal))
  (let ((row (unwrap! (contract-call? .bh-params get-token (contract-of token)) ERR-FUND-TOKEN)))
    (ok (unwrap!
      (restrict-assets? from
        (
          (with-stx (if (get native row) amt u0))
          (with-ft (contract-of token) (get asset-name row) amt)
        )
        (unwrap! (contract-call? token transfer amt from current-contract none) ERR-FUND-TRANSFER)
      )
      ERR-FUND-TRANSFER
    ))
  )
)

;; Moves tokens out of the fund; the token can take no more than that from the fund.
(define-private (push (token <sip010>) (amt uint) (to principal))
  (let ((row (unwrap! (contract-call? .bh-params get-token (contract-of token)) ERR-FUND-TOKEN)))
    (ok (unwrap!
      (as-contract?
        (
          (with-stx (if (get native row) amt u0))
          (with-ft (contract-of token) (get asset-name row) amt)
        )
        (unwrap! (contract-call? token transfer amt current-contract to none) ERR-FUND-TRANSFER)
      )
      ERR-FUND-TRANSFER
    ))
  )
)

;; Prints the fund's state in a token if the rule gives another one than before, and reports the share that is promised.
(define-private (update-state (token principal))
  (let (
      (used-bp (get-used-bp token))
      (warning-bp (try! (contract-call? .bh-params get-param "fund-warning-bp")))
      (critical-bp (try! (contract-call? .bh-params get-param "fund-critical-bp")))
      (before (get-state token))
      (after (if (is-some (map-get? open-plans token))
        "recovery"
        (if (>= used-bp critical-bp) "critical" (if (>= used-bp warning-bp) "warning" "normal"))
      ))
    )
    (if (is-eq before after)
      true
      (begin
        (map-set states token after)
        (print (merge (envelope "fund.status-changed") {
          token: token,
          state: after,
          before: before,
          used-bp: used-bp,
        }))
        true
      )
    )
    ;; Without a metric of this name, or without a place among the active modules, there is nobody to tell.
    (is-ok (contract-call? .bh-params report-metric "fund-used-bp" used-bp))
    (ok true)
  )
)

;; Books tokens that have reached the fund, and prints where from.
(define-private (credit (token principal) (amt uint) (from principal) (kind (string-ascii 8)))
  (let ((row (get-holding token)))
    (map-set holdings token (merge row {balance: (+ (get balance row) amt)}))
    (print (merge (envelope "fund.capitalized") {
      kind: kind,
      from: from,
      token: token,
      amt: amt,
      balance-before: (get balance row),
      balance-after: (+ (get balance row) amt),
    }))
    (update-state token)
  )
)

;; Gives the fund tokens of the caller's own.
(define-public (capitalize (token <sip010>) (amt uint))
  (begin
    (asserts! (> amt u0) ERR-FUND-ZERO-AMOUNT)
    (try! (credit (contract-of token) amt contract-caller "gift"))
    (pull token amt contract-caller)
  )
)

;; Takes the reserve's share of premiums from the vault. Gives the amount.
(define-public (collect (token <sip010>))
  (let ((amt (try! (contract-call? .bh-vault collect-fees token))))
    (try! (credit (contract-of token) amt .bh-vault "reserve"))
    (ok amt)
  )
)

;; Takes what the treasury shares out to the fund. Gives the amount.
(define-public (claim-share (token <sip010>))
  (let ((amt (try! (contract-call? .bh-treasury claim-share token))))
    (try! (credit (contract-of token) amt .bh-treasury "share"))
    (ok amt)
  )
)

;; Takes the fund's yield from the vault: premiums it earned and penalties. Gives the amount.
(define-public (claim-yield (token <sip010>))
  (let ((amt (try! (contract-call? .bh-vault claim-yield token))))
    (try! (credit (contract-of token) amt .bh-vault "yield"))
    (ok amt)
  )
)

;; Books tokens of the table that reached the fund in a plain transfer. Gives the amount.
(define-public (absorb (token <sip010>))
  (let (
      (token-id (contract-of token))
      (is-known (asserts! (is-some (contract-call? .bh-params get-token token-id)) ERR-FUND-TOKEN))
      (owned (unwrap! (contract-call? token get-balance current-contract) ERR-FUND-TRANSFER))
      (booked (get balance (get-holding token-id)))
    )
    (asserts! (> owned booked) ERR-NO-SURPLUS)
    (try! (credit token-id (- owned booked) token-id "surplus"))
    (ok (- owned booked))
  )
)

;; Sets what the fund will still pay for a tier's policies in a token, and the most liability that it takes over there.
(define-public (set-coverage
    (tier (string-ascii 16))
    (token principal)
    (left uint)
    (max-liability-usd8 uint)
    (proposal (optional uint))
  )
  (let (
      (before (get-cover tier token))
      (row (get-holding token))
      (cover (- (+ (get cover row) left) (get left before)))
    )
    (try! (check-governance))
    (asserts! (is-some (contract-call? .bh-params get-token token)) ERR-FUND-TOKEN)
    (asserts! (is-some (contract-call? .bh-params get-tier tier)) ERR-FUND-TIER)
    (map-set covers {tier: tier, token: token} {left: left, max-liability-usd8: max-liability-usd8})
    (map-set holdings token (merge row {cover: cover}))
    (print (merge (envelope "coverage.set") {
      tier: tier,
      token: token,
      left-before: (get left before),
      left-after: left,
      max-liability-usd8-before: (get max-liability-usd8 before),
      max-liability-usd8-after: max-liability-usd8,
      cover-before: (get cover row),
      cover-after: cover,
      proposal: proposal,
    }))
    (update-state token)
  )
)

;; What the fund can pay now in a token for a policy, and the usd8 that it counts for.
(define-private (cover-terms (policy uint) (token principal))
  (let (
      (row (unwrap! (contract-call? .bh-policy get-policy policy) ERR-COVER-NOT-DUE))
      (unpaid (get unpaid-usd8 row))
      (is-due (asserts! (> unpaid u0) ERR-COVER-NOT-DUE))
      (token-row (unwrap! (contract-call? .bh-params get-token token) ERR-FUND-TOKEN))
      (decimals (get decimals token-row))
      (price (try! (contract-call? .bh-oracle get-market-price (get asset token-row))))
      (price-usd8 (get price-usd8 price))
      (event-cap-bp (try! (contract-call? .bh-params get-param "fund-event-cap-bp")))
      (balance (get balance (get-holding token)))
      (paid (get-payment policy token))
      (event-cap (/ (* (+ balance paid) event-cap-bp) BP))
      (event-room (if (> event-cap paid) (- event-cap paid) u0))
      (claim-room (contract-call? .bh-math tokens-down (contract-call? .bh-policy claim-allowance policy) decimals price-usd8))
      (room (if (> claim-room event-room) claim-room event-room))
      (due (contract-call? .bh-math tokens-down unpaid decimals price-usd8))
      (amt (least (least due room) (least balance (get left (get-cover (get tier row) token)))))
    )
    (asserts! (> amt u0) ERR-COVER-USED-UP)
    (ok {
      owner: (get owner row),
      tier: (get tier row),
      round: (get round price),
      price-usd8: price-usd8,
      amt: amt,
      usd8: (if (is-eq amt due)
        unpaid
        (contract-call? .bh-math div-up (* amt price-usd8) (pow u10 decimals))
      ),
    })
  )
)

;; Pays the owner of an ended policy what its collateral could not, as far as the policy's cap, the tier's cover and the
;; fund's balance reach. Gives the amount.
(define-public (cover-shortfall (policy uint) (token <sip010>))
  (let (
      (token-id (contract-of token))
      (is-open (asserts! (contract-call? .bh-params is-open "cover") ERR-COVER-CLOSED))
      (terms (try! (cover-terms policy token-id)))
      (amt (get amt terms))
      (key {tier: (get tier terms), token: token-id})
      (cover (get-cover (get tier terms) token-id))
      (row (get-holding token-id))
      (paid (get-payment policy token-id))
      (unpaid (try! (contract-call? .bh-policy reduce-unpaid policy (get usd8 terms))))
    )
    (map-set holdings token-id {balance: (- (get balance row) amt), cover: (- (get cover row) amt)})
    (map-set covers key (merge cover {left: (- (get left cover) amt)}))
    (map-set payments {policy: policy, token: token-id} (+ paid amt))
    (print (merge (merge (envelope "shortfall.covered") terms) {
      policy: policy,
      token: token-id,
      unpaid-usd8-after: unpaid,
      payment-before: paid,
      payment-after: (+ paid amt),
      left-before: (get left cover),
      left-after: (- (get left cover) amt),
      cover-before: (get cover row),
      cover-after: (- (get cover row) amt),
      balance-before: (get balance row),
      balance-after: (- (get balance row) amt),
    }))
    (try! (update-state token-id))
    (try! (push token amt (get owner terms)))
    (ok amt)
  )
)

;; Puts tokens that are not promised to anybody into the fund's position in a tier, where policies that are taken over
;; are backed by them. The position takes no other policies.
(define-public (allocate (token <sip010>) (tier (string-ascii 16)) (amt uint))
  (let (
      (token-id (contract-of token))
      (token-row (unwrap! (contract-call? .bh-params get-token token-id) ERR-FUND-TOKEN))
      (row (get-holding token-id))
    )
    (try! (check-manager))
    (asserts! (> amt u0) ERR-FUND-ZERO-AMOUNT)
    (asserts! (<= (+ amt (get cover row)) (get balance row)) ERR-FUND-PROMISED)
    (map-set holdings token-id (merge row {balance: (- (get balance row) amt)}))
    (print (merge (envelope "fund.allocated") {
      tier: tier,
      token: token-id,
      amt: amt,
      balance-before: (get balance row),
      balance-after: (- (get balance row) amt),
    }))
    (try! (update-state token-id))
    (and
      (contract-call? .bh-vault is-auto-match current-contract)
      (is-ok (contract-call? .bh-vault set-auto-match false))
    )
    (unwrap!
      (as-contract?
        (
          (with-stx (if (get native token-row) amt u0))
          (with-ft token-id (get asset-name token-row) amt)
        )
        (try! (contract-call? .bh-vault deposit token tier amt))
      )
      ERR-FUND-TRANSFER
    )
    (ok true)
  )
)

;; Asks for free capital of the fund's position back. Gives the vault's request.
(define-public (request-release (token principal) (tier (string-ascii 16)) (amt uint))
  (begin
    (try! (check-manager))
    (contract-call? .bh-vault request-withdraw token tier amt)
  )
)

;; Takes capital that was asked for out of the vault when the delay is over. Gives the amount.
(define-public (release (request uint) (token <sip010>))
  (let (
      (token-id (contract-of token))
      (tier (default-to "" (get tier (contract-call? .bh-vault get-request request))))
      (before (get available (contract-call? .bh-vault get-position current-contract tier token-id)))
      (is-paid (try! (contract-call? .bh-vault withdraw request token)))
      (after (get available (contract-call? .bh-vault get-position current-contract tier token-id)))
    )
    (try! (credit token-id (- before after) .bh-vault "release"))
    (ok (- before after))
  )
)

;; Sends what a replaced fund has of a token beyond its promises to its successor and nowhere else.
(define-public (pass-on-capital (token <sip010>) (proposal (optional uint)))
  (let (
      (token-id (contract-of token))
      (row (get-holding token-id))
      (is-governance (try! (check-governance)))
      (to (unwrap! (contract-call? .bh-registry get-successor "fund" current-contract) ERR-FUND-SUCCESSOR))
      (is-free (asserts! (> (get balance row) (get cover row)) ERR-FUND-PROMISED))
      (amt (- (get balance row) (get cover row)))
    )
    (map-set holdings token-id (merge row {balance: (get cover row)}))
    (print (merge (envelope "capital.passed-on") {
      to: to,
      token: token-id,
      amt: amt,
      balance-before: (get balance row),
      balance-after: (get cover row),
      proposal: proposal,
    }))
    (try! (update-state token-id))
    (push token amt to)
  )
)

;; Accepts an allocation that the liquidation module has just moved to the fund's position, or refuses what would cost
;; too much: too much liability, too little time, less than its price, too large a share of the capital in one policy.
(define-public (record-takeover
    (policy uint)
    (provider principal)
    (moved {
      tier: (string-ascii 16),
      token: principal,
      expiry-burn: uint,
      liability-usd8: uint,
      collateral: uint,
      price: uint,
      paid: uint,
    })
  )
  (let (
      (tier (get tier moved))
      (token (get token moved))
      (before (get-takeover policy))
      (after {
        liability-usd8: (+ (get liability-usd8 before) (get liability-usd8 moved)),
        collateral: (+ (get collateral before) (get collateral moved)),
      })
      (position (contract-call? .bh-vault get-position current-contract tier token))
      (capital (+ (get available position) (get locked position)))
      (event-cap-bp (try! (contract-call? .bh-params get-param "fund-event-cap-bp")))
      (critical-bp (try! (contract-call? .bh-params get-param "fund-critical-bp")))
      (min-duration (try! (contract-call? .bh-params get-param "takeover-min-duration")))
    )
    (asserts! (contract-call? .bh-registry is-active "liquidation" contract-caller) ERR-FUND-NOT-LIQUIDATION)
    (asserts! (< (get-used-bp token) critical-bp) ERR-FUND-CRITICAL)
    (asserts! (<= (get liability-usd8 position) (get max-liability-usd8 (get-cover tier token))) ERR-TAKEOVER-LIABILITY)
    (asserts! (>= (get expiry-burn moved) (+ burn-block-height min-duration)) ERR-TAKEOVER-DURATION)
    (asserts! (>= (get paid moved) (get price moved)) ERR-TAKEOVER-PRICE)
    (asserts! (<= (* (get collateral after) BP) (* capital event-cap-bp)) ERR-TAKEOVER-SHARE)
    (map-set takeovers policy after)
    (print (merge (merge (envelope "takeover.recorded") moved) {
      policy: policy,
      provider: provider,
      taken-usd8-before: (get liability-usd8 before),
      taken-usd8-after: (get liability-usd8 after),
      collateral-before: (get collateral before),
      collateral-after: (get collateral after),
    }))
    (ok true)
  )
)

;; Opens a plan to raise an amount of a token. Gives the plan.
(define-public (start-recovery (token principal) (target uint) (duration-burn uint) (proposal (optional uint)))
  (let (
      (plan (+ (var-get last-plan) u1))
      (row {
        token: token,
        target: target,
        raised: u0,
        ends-burn: (+ burn-block-height duration-burn),
        state: "open",
      })
    )
    (try! (check-governance))
    (asserts! (is-some (contract-call? .bh-params get-token token)) ERR-FUND-TOKEN)
    (asserts! (and (> target u0) (>= duration-burn u1) (<= duration-burn MAX-RECOVERY)) ERR-RECOVERY-TERMS)
    (asserts! (map-insert open-plans token plan) ERR-RECOVERY-OPEN)
    (var-set last-plan plan)
    (map-set plans plan row)
    (print (merge (merge (envelope "recovery.started") row) {plan: plan, proposal: proposal}))
    (try! (update-state token))
    (ok plan)
  )
)

;; Gives tokens of the caller's own to an open plan, at most what it still lacks.
(define-public (contribute (plan uint) (token <sip010>) (amt uint))
  (let (
      (row (unwrap! (map-get? plans plan) ERR-NO-RECOVERY))
      (raised (+ (get raised row) amt))
    )
    (asserts! (is-eq (get state row) "open") ERR-NO-RECOVERY)
    (asserts! (is-eq (contract-of token) (get token row)) ERR-FUND-TOKEN)
    (asserts! (> amt u0) ERR-FUND-ZERO-AMOUNT)
    (asserts! (and (<= raised (get target row)) (<= burn-block-height (get ends-burn row))) ERR-RECOVERY-CLOSED)
    (map-set plans plan (merge row {raised: raised}))
    (print (merge (envelope "recovery.contributed") {
      plan: plan,
      from: contract-caller,
      token: (get token row),
      amt: amt,
      raised-before: (get raised row),
      raised-after: raised,
    }))
    (try! (credit (get token row) amt contract-caller "recovery"))
    (pull token amt contract-caller)
  )
)

;; Ends a plan that has reached its target, or that has not when its time is over. Gives whether it has.
(define-public (complete-recovery (plan uint))
  (let (
      (row (unwrap! (map-get? plans plan) ERR-NO-RECOVERY))
      (is-reached (>= (get raised row) (get target row)))
      (state (if is-reached "completed" "failed"))
    )
    (asserts! (is-eq (get state row) "open") ERR-NO-RECOVERY)
    (asserts! (or is-reached (> burn-block-height (get ends-burn row))) ERR-RECOVERY-RUNNING)
    (map-set plans plan (merge row {state: state}))
    (map-delete open-plans (get token row))
    (print (merge (envelope "recovery.ended") {
      plan: plan,
      token: (get token row),
      raised: (get raised row),
      target: (get target row),
      state: state,
    }))
    (try! (update-state (get token row)))
    (ok is-reached)
  )
)
