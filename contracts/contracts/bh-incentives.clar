;; Rewards for taking part: a programme pays each epoch's total to the users that a Merkle root names, vested from the
;; posting of the root. Points are computed from events, by a published rule, so that anyone can check a root before it counts.

(use-trait sip010 .bh-traits.token)

;; Caller lacks the governance role.
(define-constant ERR-INCENTIVES-NOT-GOVERNANCE (err u11001))
;; Caller lacks the keeper role.
(define-constant ERR-NOT-KEEPER (err u11002))
;; Caller is neither governance nor guardian.
(define-constant ERR-NOT-VOIDER (err u11003))
;; No such programme.
(define-constant ERR-UNKNOWN-PROGRAM (err u11004))
;; Programme's terms outside their bounds.
(define-constant ERR-PROGRAM-TERMS (err u11005))
;; Programme has ended.
(define-constant ERR-PROGRAM-ENDED (err u11006))
;; Programme has not ended.
(define-constant ERR-PROGRAM-LIVE (err u11007))
;; Epoch is not over, or not one of the programme's.
(define-constant ERR-EPOCH-OPEN (err u11008))
;; Epoch already has a root, or had one that is closed.
(define-constant ERR-EPOCH-POSTED (err u11009))
;; Epoch has no root.
(define-constant ERR-UNKNOWN-EPOCH (err u11010))
;; Number of leaves is zero or above 2^20.
(define-constant ERR-EPOCH-LEAVES (err u11011))
;; Total is zero, or above the epoch's cap or the programme's budget.
(define-constant ERR-EPOCH-BUDGET (err u11012))
;; Root has passed its challenge.
(define-constant ERR-CHALLENGE-OVER (err u11013))
;; Root can still be challenged.
(define-constant ERR-CHALLENGE-OPEN (err u11014))
;; Claim after the epoch's deadline.
(define-constant ERR-CLAIM-DEADLINE (err u11015))
;; Closing an epoch before its deadline.
(define-constant ERR-CLAIMS-OPEN (err u11016))
;; Proof does not lead from the caller's leaf to the root.
(define-constant ERR-BAD-PROOF (err u11017))
;; Everything vested so far is claimed.
(define-constant ERR-NOTHING-VESTED (err u11018))
;; Claims would exceed the epoch's total.
(define-constant ERR-EPOCH-SPENT (err u11019))
;; No budget is left.
(define-constant ERR-NO-BUDGET (err u11020))
;; Token argument is not the programme's token.
(define-constant ERR-PROGRAM-TOKEN (err u11021))
;; Token not in the token table.
(define-constant ERR-REWARD-TOKEN (err u11022))
;; Token transfer failed or moved more than it was allowed.
(define-constant ERR-REWARD-TRANSFER (err u11023))
;; Contribution is zero or above 10^30.
(define-constant ERR-REWARD-AMOUNT (err u11024))

(define-constant BP u10000)
;; Highest contribution, so that no sum of them can overflow.
(define-constant MAX-AMOUNT u1000000000000000000000000000000)
;; Most leaves of a tree: its depth is at most 20.
(define-constant MAX-LEAVES u1048576)
;; Longest epoch, vesting and time to claim, in Bitcoin blocks: a year each.
(define-constant MAX-BURN u52560)
;; Height above which no programme starts, so that heights computed from it cannot overflow.
(define-constant MAX-START u1000000000000)
;; First bytes of what is hashed for a leaf and for a node, so that neither can stand for the other.
(define-constant LEAF 0x00)
(define-constant NODE 0x01)

;; Number of the last event.
(define-data-var seq uint u0)
;; Id of the last programme.
(define-data-var last-program uint u0)

;; Every programme. Epoch n, from 1, covers epoch-burn Bitcoin blocks from start-burn + (n - 1) x epoch-burn on.
;; premium-bp of an epoch's total goes by premium paid, the rest by capital provided. budget is not yet given to an epoch.
(define-map programs
  uint
  {
    token: principal,
    start-burn: uint,
    epoch-burn: uint,
    epochs: uint,
    epoch-cap: uint,
    premium-bp: uint,
    vesting-burn: uint,
    claim-burn: uint,
    budget: uint,
    ended: bool,
  }
)
;; Epochs with a root. Claims are open from claimable-burn to deadline-burn; all is vested at vested-burn.
(define-map epochs
  {program: uint, epoch: uint}
  {
    root: (buff 32),
    total: uint,
    leaves: uint,
    posted-burn: uint,
    claimable-burn: uint,
    vested-burn: uint,
    deadline-burn: uint,
    claimed: uint,
    closed: bool,
  }
)
;; What a user has claimed of an epoch.
(define-map claims {program: uint, epoch: uint, who: principal} uint)

;; Fields common to all events; counts the event.
(define-private (envelope (topic (string-ascii 40)))
  (let ((number (+ (var-get seq) u1)))
    (var-set seq number)
    {topic: topic, v: u1, seq: number, actor: tx-sender, caller: contract-caller}
  )
)

;; The row of a programme.
(define-read-only (get-program (program uint))
  (map-get? programs program)
)

;; Id of the last programme; ids start at 1.
(define-read-only (get-last-program)
  (var-get last-program)
)

;; The row of an epoch with a root.
(define-read-only (get-epoch (program uint) (epoch uint))
  (map-get? epochs {program: program, epoch: epoch})
)

;; What a user has claimed of an epoch.
(define-read-only (get-claimed (program uint) (epoch uint) (who principal))
  (default-to u0 (map-get? claims {program: program, epoch: epoch, who: who}))
)

;; Number of the last event.
(define-read-only (get-seq)
  (var-get seq)
)

;; Hash of what one user gets in an epoch: a leaf of the epoch's tree.
(define-read-only (leaf-hash (program uint) (epoch uint) (who principal) (amt uint))
  (sha256 (concat LEAF
    (unwrap-panic (to-consensus-buff? {program: program, epoch: epoch, who: who, amt: amt}))
  ))
)

;; Siblings between a leaf and the root of a tree: the least depth that holds all leaves.
(define-read-only (tree-depth (leaves uint))
  (log2 (- (* u2 leaves) u1))
)

;; Goes one level up: a bit of the leaf's index says on which side the sibling is.
(define-private (proof-step (sibling (buff 32)) (acc {hash: (buff 32), index: uint}))
  {
    hash: (sha256 (concat NODE
      (if (is-eq (mod (get index acc) u2) u0)
        (concat (get hash acc) sibling)
        (concat sibling (get hash acc))
      )
    )),
    index: (/ (get index acc) u2),
  }
)

;; Root that a leaf and the siblings above it, lowest first, lead to.
(define-read-only (proof-root (leaf (buff 32)) (index uint) (proof (list 20 (buff 32))))
  (get hash (fold proof-step proof {hash: leaf, index: index}))
)

;; Part of an amount that is vested at this burn height, rounded down.
(define-read-only (vested-amount (amt uint) (posted-burn uint) (vested-burn uint))
  (if (>= burn-block-height vested-burn)
    amt
    (/ (* amt (- burn-block-height posted-burn)) (- vested-burn posted-burn))
  )
)

;; Fails unless the caller holds the governance role.
(define-private (check-governance)
  (ok (asserts! (contract-call? .bh-registry has-role "governance" contract-caller) ERR-INCENTIVES-NOT-GOVERNANCE))
)

;; Moves tokens from their owner into this contract; the token can take no more than that from the owner.
(define-private (pull (token <sip010>) (amt uint) (from principal))
  (let ((row (unwrap! (contract-call? .bh-params get-token (contract-of token)) ERR-REWARD-TOKEN)))
    (ok (unwrap!
      (restrict-assets? from
        (
          (with-stx (if (get native row) amt u0))
          (with-ft (contract-of token) (get asset-name row) amt)
        )
        (unwrap! (contract-call? token transfer amt from current-contract none) ERR-REWARD-TRANSFER)
      )
      ERR-REWARD-TRANSFER
    ))
  )
)

;; Moves tokens out of this contract; the token can take no more than that from it.
(define-private (push (token <sip010>) (amt uint) (to principal))
  (let ((row (unwrap! (contract-call? .bh-params get-token (contract-of token)) ERR-REWARD-TOKEN)))
    (ok (unwrap!
      (as-contract?
        (
          (with-stx (if (get native row) amt u0))
          (with-ft (contract-of token) (get asset-name row) amt)
        )
        (unwrap! (contract-call? token transfer amt current-contract to none) ERR-REWARD-TRANSFER)
      )
      ERR-REWARD-TRANSFER
    ))
  )
)

;; Starts a programme, without budget. Gives its id.
(define-public (create-program
    (token principal)
    (terms {
      start-burn: uint,
      epoch-burn: uint,
      epochs: uint,
      epoch-cap: uint,
      premium-bp: uint,
      vesting-burn: uint,
      claim-burn: uint,
    })
    (proposal (optional uint))
  )
  (let ((program (+ (var-get last-program) u1)))
    (try! (check-governance))
    (asserts! (is-some (contract-call? .bh-params get-token token)) ERR-REWARD-TOKEN)
    (asserts!
      (and
        (>= (get start-burn terms) burn-block-height)
        (<= (get start-burn terms) MAX-START)
        (>= (get epoch-burn terms) u1)
        (<= (get epoch-burn terms) MAX-BURN)
        (>= (get epochs terms) u1)
        (<= (get epochs terms) u1000)
        (>= (get epoch-cap terms) u1)
        (<= (get epoch-cap terms) MAX-AMOUNT)
        (<= (get premium-bp terms) BP)
        (<= (get vesting-burn terms) MAX-BURN)
        (>= (get claim-burn terms) u1)
        (<= (get claim-burn terms) MAX-BURN)
      )
      ERR-PROGRAM-TERMS
    )
    (var-set last-program program)
    (map-set programs program (merge terms {token: token, budget: u0, ended: false}))
    (print (merge (merge (envelope "program.created") terms) {
      program: program,
      token: token,
      proposal: proposal,
    }))
    (ok program)
  )
)

;; Adds to a programme's budget and prints it.
(define-private (add-budget (program uint) (amt uint) (from principal))
  (match (map-get? programs program)
    row (let ((after (+ (get budget row) amt)))
      (map-set programs program (merge row {budget: after}))
      (print (merge (envelope "budget.added") {
        program: program,
        from: from,
        token: (get token row),
        amt: amt,
        budget-before: (get budget row),
        budget-after: after,
      }))
      true
    )
    false
  )
)

;; Adds tokens of the caller to a programme's budget.
(define-public (contribute (program uint) (token <sip010>) (amt uint))
  (let ((row (unwrap! (map-get? programs program) ERR-UNKNOWN-PROGRAM)))
    (asserts! (is-eq (contract-of token) (get token row)) ERR-PROGRAM-TOKEN)
    (asserts! (not (get ended row)) ERR-PROGRAM-ENDED)
    (asserts! (and (> amt u0) (<= amt MAX-AMOUNT)) ERR-REWARD-AMOUNT)
    (add-budget program amt contract-caller)
    (pull token amt contract-caller)
  )
)

;; Adds what the treasury set aside for a programme to its budget. Gives the amount.
(define-public (draw-funds (program uint) (token <sip010>))
  (let (
      (row (unwrap! (map-get? programs program) ERR-UNKNOWN-PROGRAM))
      (is-token (asserts! (is-eq (contract-of token) (get token row)) ERR-PROGRAM-TOKEN))
      (amt (try! (contract-call? .bh-treasury draw-program program token)))
    )
    (add-budget program amt .bh-treasury)
    (ok amt)
  )
)

;; Gives an epoch that is over its total and the root of what each user gets of it. It can be voided until its challenge
;; is over.
(define-public (post-root (program uint) (epoch uint) (root (buff 32)) (total uint) (leaves uint))
  (let (
      (is-keeper (asserts! (contract-call? .bh-registry has-role "keeper" contract-caller) ERR-NOT-KEEPER))
      (row (unwrap! (map-get? programs program) ERR-UNKNOWN-PROGRAM))
      (challenge (try! (contract-call? .bh-params get-param "root-challenge")))
      (claimable-burn (+ burn-block-height challenge))
      (vested-burn (+ burn-block-height (get vesting-burn row)))
      (open-burn (if (> vested-burn claimable-burn) vested-burn claimable-burn))
      (epoch-row {
        root: root,
        total: total,
        leaves: leaves,
        posted-burn: burn-block-height,
        claimable-burn: claimable-burn,
        vested-burn: vested-burn,
        deadline-burn: (+ open-burn (get claim-burn row)),
      })
    )
    (asserts! (not (get ended row)) ERR-PROGRAM-ENDED)
    (asserts!
      (and
        (>= epoch u1)
        (<= epoch (get epochs row))
        (>= burn-block-height (+ (get start-burn row) (* epoch (get epoch-burn row))))
      )
      ERR-EPOCH-OPEN
    )
    (asserts! (and (>= leaves u1) (<= leaves MAX-LEAVES)) ERR-EPOCH-LEAVES)
    (asserts!
      (and (> total u0) (<= total (get epoch-cap row)) (<= total (get budget row)))
      ERR-EPOCH-BUDGET
    )
    (asserts!
      (map-insert epochs {program: program, epoch: epoch} (merge epoch-row {claimed: u0, closed: false}))
      ERR-EPOCH-POSTED
    )
    (map-set programs program (merge row {budget: (- (get budget row) total)}))
    (print (merge (merge (envelope "epoch.posted") epoch-row) {
      program: program,
      epoch: epoch,
      token: (get token row),
      budget-before: (get budget row),
      budget-after: (- (get budget row) total),
    }))
    (ok true)
  )
)

;; Takes a wrong root back before anyone could claim by it; the epoch can be posted again.
(define-public (void-root (program uint) (epoch uint) (proposal (optional uint)))
  (let (
      (is-voider (asserts!
        (or
          (contract-call? .bh-registry has-role "governance" contract-caller)
          (contract-call? .bh-registry has-role "guardian" contract-caller)
        )
        ERR-NOT-VOIDER
      ))
      (row (unwrap! (map-get? programs program) ERR-UNKNOWN-PROGRAM))
      (epoch-row (unwrap! (map-get? epochs {program: program, epoch: epoch}) ERR-UNKNOWN-EPOCH))
      (after (+ (get budget row) (get total epoch-row)))
    )
    (asserts! (< burn-block-height (get claimable-burn epoch-row)) ERR-CHALLENGE-OVER)
    (map-delete epochs {program: program, epoch: epoch})
    (map-set programs program (merge row {budget: after}))
    (print (merge (envelope "epoch.voided") {
      program: program,
      epoch: epoch,
      token: (get token row),
      root: (get root epoch-row),
      total: (get total epoch-row),
      budget-before: (get budget row),
      budget-after: after,
      proposal: proposal,
    }))
    (ok true)
  )
)

;; Pays the caller what is vested and not yet claimed of their part of an epoch. Gives the amount.
(define-public (claim
    (program uint)
    (epoch uint)
    (amt uint)
    (index uint)
    (proof (list 20 (buff 32)))
    (token <sip010>)
  )
  (let (
      (row (unwrap! (map-get? programs program) ERR-UNKNOWN-PROGRAM))
      (epoch-row (unwrap! (map-get? epochs {program: program, epoch: epoch}) ERR-UNKNOWN-EPOCH))
      (is-token (asserts! (is-eq (contract-of token) (get token row)) ERR-PROGRAM-TOKEN))
      (is-final (asserts! (>= burn-block-height (get claimable-burn epoch-row)) ERR-CHALLENGE-OPEN))
      (is-open (asserts! (<= burn-block-height (get deadline-burn epoch-row)) ERR-CLAIM-DEADLINE))
      (is-proven (asserts!
        (and
          (< index (get leaves epoch-row))
          (is-eq (len proof) (tree-depth (get leaves epoch-row)))
          (is-eq
            (proof-root (leaf-hash program epoch contract-caller amt) index proof)
            (get root epoch-row)
          )
        )
        ERR-BAD-PROOF
      ))
      (is-within (asserts! (<= amt (get total epoch-row)) ERR-EPOCH-SPENT))
      (vested (vested-amount amt (get posted-burn epoch-row) (get vested-burn epoch-row)))
      (before (get-claimed program epoch contract-caller))
      (is-due (asserts! (> vested before) ERR-NOTHING-VESTED))
      (paid (- vested before))
      (spent (+ (get claimed epoch-row) paid))
    )
    (asserts! (<= spent (get total epoch-row)) ERR-EPOCH-SPENT)
    (map-set claims {program: program, epoch: epoch, who: contract-caller} vested)
    (map-set epochs {program: program, epoch: epoch} (merge epoch-row {claimed: spent}))
    (print (merge (envelope "reward.claimed") {
      program: program,
      epoch: epoch,
      who: contract-caller,
      token: (get token row),
      index: index,
      entitled: amt,
      amt: paid,
      claimed-before: before,
      claimed-after: vested,
      epoch-claimed-before: (get claimed epoch-row),
      epoch-claimed-after: spent,
    }))
    (try! (push token paid contract-caller))
    (ok paid)
  )
)

;; Returns what nobody claimed of an epoch by its deadline to the programme's budget. Gives the amount.
(define-public (close-epoch (program uint) (epoch uint))
  (let (
      (row (unwrap! (map-get? programs program) ERR-UNKNOWN-PROGRAM))
      (epoch-row (unwrap! (map-get? epochs {program: program, epoch: epoch}) ERR-UNKNOWN-EPOCH))
      (amt (- (get total epoch-row) (get claimed epoch-row)))
      (after (+ (get budget row) amt))
    )
    (asserts! (not (get closed epoch-row)) ERR-EPOCH-POSTED)
    (asserts! (> burn-block-height (get deadline-burn epoch-row)) ERR-CLAIMS-OPEN)
    (map-set epochs {program: program, epoch: epoch} (merge epoch-row {closed: true}))
    (map-set programs program (merge row {budget: after}))
    (print (merge (envelope "epoch.closed") {
      program: program,
      epoch: epoch,
      token: (get token row),
      amt: amt,
      budget-before: (get budget row),
      budget-after: after,
    }))
    (ok amt)
  )
)

;; Ends a programme: no further roots. What was posted can still be claimed.
(define-public (end-program (program uint) (proposal (optional uint)))
  (let (
      (is-governance (try! (check-governance)))
      (row (unwrap! (map-get? programs program) ERR-UNKNOWN-PROGRAM))
    )
    (asserts! (not (get ended row)) ERR-PROGRAM-ENDED)
    (map-set programs program (merge row {ended: true}))
    (print (merge (envelope "program.ended") {program: program, proposal: proposal}))
    (ok true)
  )
)

;; Gives the budget of a programme that has ended to the treasury. Gives the amount.
(define-public (return-budget (program uint) (token <sip010>))
  (let (
      (row (unwrap! (map-get? programs program) ERR-UNKNOWN-PROGRAM))
      (token-id (get token row))
      (token-row (unwrap! (contract-call? .bh-params get-token token-id) ERR-REWARD-TOKEN))
      (amt (get budget row))
    )
    (asserts! (is-eq (contract-of token) token-id) ERR-PROGRAM-TOKEN)
    (asserts! (get ended row) ERR-PROGRAM-LIVE)
    (asserts! (> amt u0) ERR-NO-BUDGET)
    (map-set programs program (merge row {budget: u0}))
    (print (merge (envelope "budget.returned") {
      program: program,
      to: .bh-treasury,
      token: token-id,
      amt: amt,
      budget-before: amt,
      budget-after: u0,
    }))
    (unwrap!
      (as-contract?
        (
          (with-stx (if (get native token-row) amt u0))
          (with-ft token-id (get asset-name token-row) amt)
        )
        (try! (contract-call? .bh-treasury contribute token amt))
      )
      ERR-REWARD-TRANSFER
    )
    (ok amt)
  )
)
