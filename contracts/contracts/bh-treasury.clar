;; The platform's part of premiums: collected from the vault, shared out by fixed allocations, and spent by governance out
;; of the treasury's own share. It also says which users pay a lower platform fee.

(use-trait sip010 .bh-traits.token)

;; Caller lacks the governance role.
(define-constant ERR-TREASURY-NOT-GOVERNANCE (err u7001))
;; Caller is not the active policy module.
(define-constant ERR-TREASURY-NOT-POLICY (err u7002))
;; Caller is not the active incentives module.
(define-constant ERR-TREASURY-NOT-INCENTIVES (err u7003))
;; Amount is zero or above 10^30.
(define-constant ERR-TREASURY-AMOUNT (err u7004))
;; Allocations do not sum to 10000 bp, or one has none.
(define-constant ERR-ALLOCATIONS-SUM (err u7005))
;; Two allocations of one name.
(define-constant ERR-ALLOCATION-NAME (err u7006))
;; Collected fees too small to share, or no allocations set.
(define-constant ERR-NOTHING-TO-DISTRIBUTE (err u7007))
;; Nothing is owed to the caller.
(define-constant ERR-NO-SHARE (err u7008))
;; Amount above the treasury's own share.
(define-constant ERR-TREASURY-SHORT (err u7009))
;; Discount above 10000 bp, or its end not in the future.
(define-constant ERR-DISCOUNT-BOUNDS (err u7010))
;; No funds set aside for the programme.
(define-constant ERR-NO-PROGRAM-FUNDS (err u7011))
;; Token not in the token table.
(define-constant ERR-TREASURY-TOKEN (err u7012))
;; Token transfer failed or moved more than it was allowed.
(define-constant ERR-TREASURY-TRANSFER (err u7013))
;; Treasury is the active one, or its successor's delay is not over.
(define-constant ERR-TREASURY-SUCCESSOR (err u7014))
;; The treasury owns no more of the token than it has booked.
(define-constant ERR-TREASURY-SURPLUS (err u7015))

(define-constant BP u10000)
;; Highest amount of a call, so that no sum of them can overflow.
(define-constant MAX-AMOUNT u1000000000000000000000000000000)

;; Number of the last event.
(define-data-var seq uint u0)
;; Number of the last distribution.
(define-data-var last-batch uint u0)
;; Who gets which part of collected fees; the parts sum to 10000 bp. Empty until governance sets them.
(define-data-var allocations
  (list 10 {name: (string-ascii 16), receiver: principal, share-bp: uint})
  (list)
)

;; Everything that the treasury holds in one token: fees not yet shared out, what receivers can claim (its own share
;; included), and what is set aside for programmes. The sum is its token balance.
(define-map holdings
  principal
  {collected: uint, shared: uint, programs: uint}
)
;; What was shared out to a receiver and is not yet paid. The treasury's own row is what governance can spend.
(define-map shares {receiver: principal, token: principal} uint)
;; What is set aside for an incentives programme.
(define-map program-funds {program: uint, token: principal} uint)
;; Part of the platform fee that a user does not pay, until the last burn height at which it holds.
(define-map discounts principal {discount-bp: uint, until-burn: uint})

;; Fields common to all events; counts the event.
(define-private (envelope (topic (string-ascii 40)))
  (let ((number (+ (var-get seq) u1)))
    (var-set seq number)
    {topic: topic, v: u1, seq: number, actor: tx-sender, caller: contract-caller}
  )
)

;; Who gets which part of collected fees, in order.
(define-read-only (get-allocations)
  (var-get allocations)
)

;; Everything that the treasury holds in one token, by purpose.
(define-read-only (get-holdings (token principal))
  (default-to {collected: u0, shared: u0, programs: u0} (map-get? holdings token))
)

;; What a receiver can claim.
(define-read-only (get-share (receiver principal) (token principal))
  (default-to u0 (map-get? shares {receiver: receiver, token: token}))
)

;; What governance can spend.
(define-read-only (get-own-share (token principal))
  (get-share current-contract token)
)

;; What is set aside for an incentives programme.
(define-read-only (get-program-funds (program uint) (token principal))
  (default-to u0 (map-get? program-funds {program: program, token: token}))
)

;; The row of a user's discount.
(define-read-only (get-discount (user principal))
  (map-get? discounts user)
)

;; Part of the platform fee that a user does not pay now.
(define-read-only (discount-bp (user principal))
  (match (map-get? discounts user)
    row (if (<= burn-block-height (get until-burn row)) (get discount-bp row) u0)
    u0
  )
)

;; The platform fee that a user pays, rounded up; never more than the fee.
(define-read-only (discounted-fee (user principal) (fee uint))
  (contract-call? .bh-math div-up (* fee (- BP (discount-bp user))) BP)
)

;; Number of the last event.
(define-read-only (get-seq)
  (var-get seq)
)

;; Fails unless the caller holds the governance role.
(define-private (check-governance)
  (ok (asserts! (contract-call? .bh-registry has-role "governance" contract-caller) ERR-TREASURY-NOT-GOVERNANCE))
)

;; Moves tokens from their owner into the treasury; the token can take no more than that from the owner.
(define-private (pull (token <sip010>) (amt uint) (from principal))
  (let ((row (unwrap! (contract-call? .bh-params get-token (contract-of token)) ERR-TREASURY-TOKEN)))
    (ok (unwrap!
      (restrict-assets? from
        (
          (with-stx (if (get native row) amt u0))
          (with-ft (contract-of token) (get asset-name row) amt)
        )
        (unwrap! (contract-call? token transfer amt from current-contract none) ERR-TREASURY-TRANSFER)
      )
      ERR-TREASURY-TRANSFER
    ))
  )
)

;; Moves tokens out of the treasury; the token can take no more than that from the treasury.
(define-private (push (token <sip010>) (amt uint) (to principal))
  (let ((row (unwrap! (contract-call? .bh-params get-token (contract-of token)) ERR-TREASURY-TOKEN)))
    (ok (unwrap!
      (as-contract?
        (
          (with-stx (if (get native row) amt u0))
          (with-ft (contract-of token) (get asset-name row) amt)
        )
        (unwrap! (contract-call? token transfer amt current-contract to none) ERR-TREASURY-TRANSFER)
      )
      ERR-TREASURY-TRANSFER
    ))
  )
)

;; Takes the platform's part of premiums out of the vault. Gives the amount.
(define-public (collect (token <sip010>))
  (let (
      (token-id (contract-of token))
      (amt (try! (contract-call? .bh-vault collect-fees token)))
      (row (get-holdings token-id))
      (after (+ (get collected row) amt))
    )
    (map-set holdings token-id (merge row {collected: after}))
    (print (merge (envelope "fee.collected") {
      token: token-id,
      amt: amt,
      collected-before: (get collected row),
      collected-after: after,
    }))
    (ok amt)
  )
)

;; Gives the treasury tokens of the caller, to be spent by governance.
(define-public (contribute (token <sip010>) (amt uint))
  (let (
      (token-id (contract-of token))
      (row (get-holdings token-id))
      (before (get-own-share token-id))
    )
    (asserts! (and (> amt u0) (<= amt MAX-AMOUNT)) ERR-TREASURY-AMOUNT)
    (map-set holdings token-id (merge row {shared: (+ (get shared row) amt)}))
    (map-set shares {receiver: current-contract, token: token-id} (+ before amt))
    (print (merge (envelope "treasury.contributed") {
      from: contract-caller,
      receiver: current-contract,
      token: token-id,
      amt: amt,
      share-before: before,
      share-after: (+ before amt),
    }))
    (pull token amt contract-caller)
  )
)

;; Books tokens of the table that reached the treasury in a plain transfer, to be spent by governance. Gives the amount.
(define-public (absorb (token <sip010>))
  (let (
      (token-id (contract-of token))
      (is-known (asserts! (is-some (contract-call? .bh-params get-token token-id)) ERR-TREASURY-TOKEN))
      (owned (unwrap! (contract-call? token get-balance current-contract) ERR-TREASURY-TRANSFER))
      (row (get-holdings token-id))
      (booked (+ (get collected row) (get shared row) (get programs row)))
      (is-surplus (asserts! (> owned booked) ERR-TREASURY-SURPLUS))
      (amt (- owned booked))
      (before (get-own-share token-id))
    )
    (map-set holdings token-id (merge row {shared: (+ (get shared row) amt)}))
    (map-set shares {receiver: current-contract, token: token-id} (+ before amt))
    (print (merge (envelope "treasury.contributed") {
      from: token-id,
      receiver: current-contract,
      token: token-id,
      amt: amt,
      share-before: before,
      share-after: (+ before amt),
    }))
    (ok amt)
  )
)

;; Checks and prints one allocation of a new set, unless one before it failed.
(define-private (allocation-step
    (item {name: (string-ascii 16), receiver: principal, share-bp: uint})
    (state (response {
      names: (list 10 (string-ascii 16)),
      sum-bp: uint,
      count: uint,
      proposal: (optional uint),
    } uint))
  )
  (let (
      (acc (try! state))
      (share-bp (get share-bp item))
    )
    (asserts! (and (> share-bp u0) (<= share-bp BP)) ERR-ALLOCATIONS-SUM)
    (asserts! (is-none (index-of? (get names acc) (get name item))) ERR-ALLOCATION-NAME)
    (print (merge (merge (envelope "allocation.set") item) {
      rank: (len (get names acc)),
      count: (get count acc),
      proposal: (get proposal acc),
    }))
    (ok (merge acc {
      names: (unwrap! (as-max-len? (append (get names acc) (get name item)) u10) ERR-ALLOCATIONS-SUM),
      sum-bp: (+ (get sum-bp acc) share-bp),
    }))
  )
)

;; Replaces all allocations at once.
(define-public (set-allocations
    (rows (list 10 {name: (string-ascii 16), receiver: principal, share-bp: uint}))
    (proposal (optional uint))
  )
  (begin
    (try! (check-governance))
    (asserts!
      (is-eq
        (get sum-bp
          (try! (fold allocation-step rows
            (ok {names: (list), sum-bp: u0, count: (len rows), proposal: proposal})
          ))
        )
        BP
      )
      ERR-ALLOCATIONS-SUM
    )
    (ok (var-set allocations rows))
  )
)

;; Credits one allocation's part of a distribution.
(define-private (distribute-step
    (item {name: (string-ascii 16), receiver: principal, share-bp: uint})
    (acc {token: principal, batch: uint, amt: uint, collected: uint})
  )
  (let (
      (token (get token acc))
      (receiver (get receiver item))
      (part (/ (* (get amt acc) (get share-bp item)) BP))
      (before (get-share receiver token))
      (left (- (get collected acc) part))
    )
    (if (is-eq part u0)
      acc
      (begin
        (map-set shares {receiver: receiver, token: token} (+ before part))
        (print (merge (envelope "fee.distributed") {
          batch: (get batch acc),
          name: (get name item),
          receiver: receiver,
          token: token,
          amt: part,
          share-before: before,
          share-after: (+ before part),
          collected-before: (get collected acc),
          collected-after: left,
        }))
        (merge acc {collected: left})
      )
    )
  )
)

;; Shares collected fees out by the allocations; what division leaves stays collected. Gives the amount shared out.
(define-public (distribute (token principal))
  (let (
      (row (get-holdings token))
      (batch (+ (var-get last-batch) u1))
      (amt (get collected row))
      (left (get collected
        (fold distribute-step (var-get allocations) {token: token, batch: batch, amt: amt, collected: amt})
      ))
    )
    (asserts! (< left amt) ERR-NOTHING-TO-DISTRIBUTE)
    (var-set last-batch batch)
    (map-set holdings token
      (merge row {collected: left, shared: (+ (get shared row) (- amt left))})
    )
    (ok (- amt left))
  )
)

;; Pays the caller everything that was shared out to them in one token. Gives the amount.
(define-public (claim-share (token <sip010>))
  (let (
      (token-id (contract-of token))
      (row (get-holdings token-id))
      (amt (get-share contract-caller token-id))
    )
    (asserts! (> amt u0) ERR-NO-SHARE)
    (map-set shares {receiver: contract-caller, token: token-id} u0)
    (map-set holdings token-id (merge row {shared: (- (get shared row) amt)}))
    (print (merge (envelope "share.claimed") {
      receiver: contract-caller,
      token: token-id,
      amt: amt,
      share-before: amt,
      share-after: u0,
    }))
    (try! (push token amt contract-caller))
    (ok amt)
  )
)

;; Pays somebody out of the treasury's own share.
(define-public (spend (token <sip010>) (to principal) (amt uint) (proposal (optional uint)))
  (let (
      (token-id (contract-of token))
      (row (get-holdings token-id))
      (before (get-own-share token-id))
    )
    (try! (check-governance))
    (asserts! (and (> amt u0) (<= amt MAX-AMOUNT)) ERR-TREASURY-AMOUNT)
    (asserts! (<= amt before) ERR-TREASURY-SHORT)
    (map-set shares {receiver: current-contract, token: token-id} (- before amt))
    (map-set holdings token-id (merge row {shared: (- (get shared row) amt)}))
    (print (merge (envelope "spend.made") {
      to: to,
      receiver: current-contract,
      token: token-id,
      amt: amt,
      share-before: before,
      share-after: (- before amt),
      proposal: proposal,
    }))
    (push token amt to)
  )
)

;; Sets part of the treasury's own share aside for an incentives programme.
(define-public (fund-program (program uint) (token principal) (amt uint) (proposal (optional uint)))
  (let (
      (row (get-holdings token))
      (before (get-own-share token))
      (funds (get-program-funds program token))
    )
    (try! (check-governance))
    (asserts! (and (> amt u0) (<= amt MAX-AMOUNT)) ERR-TREASURY-AMOUNT)
    (asserts! (<= amt before) ERR-TREASURY-SHORT)
    (map-set shares {receiver: current-contract, token: token} (- before amt))
    (map-set program-funds {program: program, token: token} (+ funds amt))
    (map-set holdings token
      (merge row {shared: (- (get shared row) amt), programs: (+ (get programs row) amt)})
    )
    (print (merge (envelope "program.funded") {
      program: program,
      receiver: current-contract,
      token: token,
      amt: amt,
      share-before: before,
      share-after: (- before amt),
      funds-before: funds,
      funds-after: (+ funds amt),
      proposal: proposal,
    }))
    (ok true)
  )
)

;; Gives what is set aside for a programme back to the treasury's own share.
(define-public (unfund-program (program uint) (token principal) (proposal (optional uint)))
  (let (
      (row (get-holdings token))
      (before (get-own-share token))
      (amt (get-program-funds program token))
    )
    (try! (check-governance))
    (asserts! (> amt u0) ERR-NO-PROGRAM-FUNDS)
    (map-set shares {receiver: current-contract, token: token} (+ before amt))
    (map-set program-funds {program: program, token: token} u0)
    (map-set holdings token
      (merge row {shared: (+ (get shared row) amt), programs: (- (get programs row) amt)})
    )
    (print (merge (envelope "program.unfunded") {
      program: program,
      receiver: current-contract,
      token: token,
      amt: amt,
      share-before: before,
      share-after: (+ before amt),
      funds-before: amt,
      funds-after: u0,
      proposal: proposal,
    }))
    (ok true)
  )
)

;; Sends what a replaced treasury has in one token, fees not yet shared out and its own share, to its successor and nowhere
;; else. What receivers can claim and what is set aside for programmes stays.
(define-public (pass-on-fees (token <sip010>) (proposal (optional uint)))
  (let (
      (token-id (contract-of token))
      (row (get-holdings token-id))
      (collected (get collected row))
      (share (get-own-share token-id))
      (amt (+ collected share))
      (is-governance (try! (check-governance)))
      (to (unwrap! (contract-call? .bh-registry get-successor "treasury" current-contract) ERR-TREASURY-SUCCESSOR))
    )
    (asserts! (> amt u0) ERR-TREASURY-AMOUNT)
    (map-set shares {receiver: current-contract, token: token-id} u0)
    (map-set holdings token-id (merge row {collected: u0, shared: (- (get shared row) share)}))
    (print (merge (envelope "fees.passed-on") {
      to: to,
      receiver: current-contract,
      token: token-id,
      amt: amt,
      collected-before: collected,
      collected-after: u0,
      share-before: share,
      share-after: u0,
      proposal: proposal,
    }))
    (push token amt to)
  )
)

;; Pays the incentives module what is set aside for one of its programmes. Gives the amount.
(define-public (draw-program (program uint) (token <sip010>))
  (let (
      (token-id (contract-of token))
      (row (get-holdings token-id))
      (amt (get-program-funds program token-id))
    )
    (asserts! (contract-call? .bh-registry is-active "incentives" contract-caller) ERR-TREASURY-NOT-INCENTIVES)
    (asserts! (> amt u0) ERR-NO-PROGRAM-FUNDS)
    (map-set program-funds {program: program, token: token-id} u0)
    (map-set holdings token-id (merge row {programs: (- (get programs row) amt)}))
    (print (merge (envelope "program.drawn") {
      program: program,
      to: contract-caller,
      token: token-id,
      amt: amt,
      funds-before: amt,
      funds-after: u0,
    }))
    (try! (push token amt contract-caller))
    (ok amt)
  )
)

;; Sets the part of the platform fee that a user does not pay, until a burn height.
(define-public (set-discount (user principal) (bp uint) (until-burn uint) (proposal (optional uint)))
  (begin
    (try! (check-governance))
    (asserts! (and (<= bp BP) (> until-burn burn-block-height)) ERR-DISCOUNT-BOUNDS)
    (map-set discounts user {discount-bp: bp, until-burn: until-burn})
    (print (merge (envelope "discount.set") {
      user: user,
      discount-bp: bp,
      until-burn: until-burn,
      proposal: proposal,
    }))
    (ok true)
  )
)

;; The platform fee that a user pays for a policy being made; a discount is printed. Gives the fee.
(define-public (use-discount (user principal) (fee uint))
  (let (
      (bp (discount-bp user))
      (after (discounted-fee user fee))
    )
    (asserts! (contract-call? .bh-registry is-active "policy" contract-caller) ERR-TREASURY-NOT-POLICY)
    (if (< after fee)
      (begin
        (print (merge (envelope "discount.used") {
          user: user,
          discount-bp: bp,
          fee-before: fee,
          fee-after: after,
        }))
        (ok after)
      )
      (ok fee)
    )
  )
)
