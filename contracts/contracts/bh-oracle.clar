;; Prices of assets in usd8: providers submit to rounds, a quorum's weighted median closes a round, and one closed round
;; fixes the price of each expiry. Rounds stay readable for ever.

;; Caller lacks the governance role.
(define-constant ERR-ORACLE-NOT-GOVERNANCE (err u3001))
;; Second bootstrap.
(define-constant ERR-ORACLE-BOOTSTRAPPED (err u3002))
;; Caller lacks the guardian role.
(define-constant ERR-ORACLE-NOT-GUARDIAN (err u3003))
;; No such asset, or not active.
(define-constant ERR-UNKNOWN-ASSET (err u3004))
;; Caller is not a provider.
(define-constant ERR-NOT-PROVIDER (err u3005))
;; An eleventh provider.
(define-constant ERR-TOO-MANY-PROVIDERS (err u3006))
;; Switch oracle is off.
(define-constant ERR-ORACLE-CLOSED (err u3007))
;; Round is not the asset's current one, or has no submission.
(define-constant ERR-WRONG-ROUND (err u3008))
;; Price is zero or above 10^18.
(define-constant ERR-BAD-PRICE (err u3009))
;; Observed too long ago, or before the round's opened-burn.
(define-constant ERR-OBSERVED-STALE (err u3010))
;; Observed above the current burn height.
(define-constant ERR-OBSERVED-FUTURE (err u3011))
;; Second submission to a round.
(define-constant ERR-SUBMITTED (err u3012))
;; Submission after the round's timeout.
(define-constant ERR-ROUND-TIMED-OUT (err u3013))
;; Closing without quorum before the timeout.
(define-constant ERR-NO-QUORUM (err u3014))
;; No round of the asset is closed yet.
(define-constant ERR-NO-PRICE (err u3015))
;; Last price is older than price-max-age.
(define-constant ERR-PRICE-STALE (err u3016))
;; Expiry height not reached.
(define-constant ERR-EXPIRY-AHEAD (err u3017))
;; Expiry price already fixed.
(define-constant ERR-EXPIRY-FIXED (err u3018))
;; Round is not the first closed one at or after the expiry.
(define-constant ERR-NOT-EXPIRY-ROUND (err u3019))
;; Fallback while breaker oracle is not tripped.
(define-constant ERR-BREAKER-NOT-TRIPPED (err u3020))
;; No fallback announced.
(define-constant ERR-NO-FALLBACK (err u3021))
;; Fallback's delay is not over.
(define-constant ERR-FALLBACK-DELAY (err u3022))
;; Provider weight above 10^6.
(define-constant ERR-BAD-WEIGHT (err u3023))
;; Last price is the guardian's fallback.
(define-constant ERR-FALLBACK-PRICE (err u3024))

(define-constant BP u10000)
(define-constant E6 u1000000)
(define-constant BLOCKS-PER-YEAR u52560)
;; Highest price that every later product still fits in 128 bits with: 10 billion USD.
(define-constant MAX-PRICE u1000000000000000000)
(define-constant MAX-PROVIDERS u10)
(define-constant MAX-WEIGHT u1000000)

;; Whether bootstrap has run.
(define-data-var bootstrapped bool false)
;; Number of the last event.
(define-data-var seq uint u0)
;; How many providers have a weight.
(define-data-var provider-count uint u0)
;; Sum of the providers' weights.
(define-data-var total-weight uint u0)

;; Weight of each provider.
(define-map providers principal uint)
;; Price feeds: next-round is the open round or the one that the next submission opens; last-round, price, opened-burn and
;; variance are the last closed round's; candidate is a rejected price that the next round may confirm.
(define-map assets
  (string-ascii 12)
  {
    active: bool,
    insurable: bool,
    reference-usd8: uint,
    next-round: uint,
    last-round: uint,
    price-usd8: uint,
    opened-burn: uint,
    var-e12: uint,
    candidate-usd8: (optional uint),
  }
)
;; Rounds: no price in one was observed before opened-burn; prev-round is the closed round before it.
(define-map rounds
  {asset: (string-ascii 12), round: uint}
  {
    state: (string-ascii 8),
    opened-burn: uint,
    closed-burn: uint,
    price-usd8: uint,
    count: uint,
    weight: uint,
    mode: (string-ascii 12),
    prev-round: uint,
    prev-opened-burn: uint,
  }
)
;; Submissions of a round, prices ascending.
(define-map submissions
  {asset: (string-ascii 12), round: uint}
  (list 10 {provider: principal, price-usd8: uint, weight: uint})
)
;; The one price of each asset's expiry height, and the round it came from.
(define-map expiry-prices
  {asset: (string-ascii 12), expiry-burn: uint}
  {round: uint, price-usd8: uint}
)
;; Prices that the guardian announced for an asset whose providers are silent.
(define-map fallbacks (string-ascii 12) {price-usd8: uint, from-burn: uint})

;; Fields common to all events; counts the event.
(define-private (envelope (topic (string-ascii 40)))
  (let ((number (+ (var-get seq) u1)))
    (var-set seq number)
    {topic: topic, v: u1, seq: number, actor: tx-sender, caller: contract-caller}
  )
)

;; Fails unless the caller holds the governance role.
(define-private (check-governance)
  (ok (asserts! (contract-call? .bh-registry has-role "governance" contract-caller) ERR-ORACLE-NOT-GOVERNANCE))
)

;; The row of an active asset.
(define-private (active-asset (asset (string-ascii 12)))
  (let ((row (unwrap! (map-get? assets asset) ERR-UNKNOWN-ASSET)))
    (asserts! (get active row) ERR-UNKNOWN-ASSET)
    (ok row)
  )
)

;; The distance from one price to another, in bp of the other.
(define-private (distance-bp (price uint) (from uint))
  (/ (* (if (> price from) (- price from) (- from price)) BP) from)
)

;; The row of an asset.
(define-read-only (get-asset (asset (string-ascii 12)))
  (map-get? assets asset)
)

;; The row of a round.
(define-read-only (get-round (asset (string-ascii 12)) (round uint))
  (map-get? rounds {asset: asset, round: round})
)

;; The submissions of a round, prices ascending.
(define-read-only (get-submissions (asset (string-ascii 12)) (round uint))
  (default-to (list) (map-get? submissions {asset: asset, round: round}))
)

;; The weight of a provider; 0 for anybody else.
(define-read-only (get-provider-weight (provider principal))
  (default-to u0 (map-get? providers provider))
)

;; Sum of the providers' weights.
(define-read-only (get-total-weight)
  (var-get total-weight)
)

;; The last closed price of an asset, however old.
(define-read-only (get-price (asset (string-ascii 12)))
  (let ((row (try! (active-asset asset))))
    (asserts! (> (get last-round row) u0) ERR-NO-PRICE)
    (ok {round: (get last-round row), price-usd8: (get price-usd8 row), opened-burn: (get opened-burn row)})
  )
)

;; The last closed price of an asset, if it is not stale.
(define-read-only (get-fresh-price (asset (string-ascii 12)))
  (let (
      (price (try! (get-price asset)))
      (max-age (try! (contract-call? .bh-params get-param "price-max-age")))
    )
    (asserts! (<= burn-block-height (+ (get opened-burn price) max-age)) ERR-PRICE-STALE)
    (ok price)
  )
)

;; The last closed price of an asset, if it is not stale and comes from providers. What takes capital from somebody
;; against their will or out of the fund uses this one.
(define-read-only (get-market-price (asset (string-ascii 12)))
  (let ((price (try! (get-fresh-price asset))))
    (asserts!
      (not (is-eq (get mode (map-get? rounds {asset: asset, round: (get round price)})) (some "fallback")))
      ERR-FALLBACK-PRICE
    )
    (ok price)
  )
)

;; The fixed price of an asset's expiry height.
(define-read-only (get-expiry-price (asset (string-ascii 12)) (expiry-burn uint))
  (map-get? expiry-prices {asset: asset, expiry-burn: expiry-burn})
)

;; The announced fallback price of an asset.
(define-read-only (get-fallback (asset (string-ascii 12)))
  (map-get? fallbacks asset)
)

;; Annual volatility of an asset in bp, within the bounds that governance set.
(define-read-only (get-volatility-bp (asset (string-ascii 12)))
  (let (
      (row (try! (active-asset asset)))
      (least (try! (contract-call? .bh-params get-param "vol-min-bp")))
      (most (try! (contract-call? .bh-params get-param "vol-max-bp")))
      (vol-bp (/ (sqrti (* (get var-e12 row) BLOCKS-PER-YEAR)) u100))
      (raised (if (< vol-bp least) least vol-bp))
    )
    (ok (if (> raised most) most raised))
  )
)

;; Number of the last event.
(define-read-only (get-seq)
  (var-get seq)
)

;; Writes what governance decides about an asset and prints it; its rounds stay.
(define-private (write-asset
    (asset (string-ascii 12))
    (insurable bool)
    (reference-usd8 uint)
    (active bool)
  )
  (let (
      (choice {insurable: insurable, reference-usd8: reference-usd8, active: active})
      (row (default-to
        {
          active: false,
          insurable: false,
          reference-usd8: u0,
          next-round: u1,
          last-round: u0,
          price-usd8: u0,
          opened-burn: u0,
          var-e12: u0,
          candidate-usd8: none,
        }
        (map-get? assets asset)
      ))
    )
    (asserts! (and (> reference-usd8 u0) (<= reference-usd8 MAX-PRICE)) ERR-BAD-PRICE)
    (map-set assets asset (merge row choice))
    (print (merge (merge (envelope "asset.set") choice) {asset: asset}))
    (ok true)
  )
)

;; Writes the weight of a provider and prints it; weight 0 removes.
(define-private (write-provider (provider principal) (weight uint))
  (let (
      (is-weight (asserts! (<= weight MAX-WEIGHT) ERR-BAD-WEIGHT))
      (before (get-provider-weight provider))
      (total (- (+ (var-get total-weight) weight) before))
      (count (-
        (+ (var-get provider-count) (if (> weight u0) u1 u0))
        (if (> before u0) u1 u0)
      ))
    )
    (asserts! (<= count MAX-PROVIDERS) ERR-TOO-MANY-PROVIDERS)
    (map-set providers provider weight)
    (var-set total-weight total)
    (var-set provider-count count)
    (print (merge (envelope "provider.set") {
      provider: provider,
      weight: weight,
      weight-before: before,
      total-weight: total,
    }))
    (ok true)
  )
)

;; Writes one of the first deployment's assets, unless one before it failed.
(define-private (genesis-asset
    (row {asset: (string-ascii 12), insurable: bool, reference-usd8: uint})
    (result (response bool uint))
  )
  (begin
    (try! result)
    (write-asset (get asset row) (get insurable row) (get reference-usd8 row) true)
  )
)

;; Writes one of the first deployment's providers, unless one before it failed.
(define-private (genesis-provider
    (row {provider: principal, weight: uint})
    (result (response bool uint))
  )
  (begin
    (try! result)
    (write-provider (get provider row) (get weight row))
  )
)

;; Writes the first assets and providers.
(define-public (bootstrap
    (rows (list 8 {asset: (string-ascii 12), insurable: bool, reference-usd8: uint}))
    (feeders (list 10 {provider: principal, weight: uint}))
  )
  (begin
    (try! (check-governance))
    (asserts! (not (var-get bootstrapped)) ERR-ORACLE-BOOTSTRAPPED)
    (var-set bootstrapped true)
    (try! (fold genesis-asset rows (ok true)))
    (fold genesis-provider feeders (ok true))
  )
)

;; Adds or changes an asset. The reference price is what the asset's first round is checked against.
(define-public (set-asset
    (asset (string-ascii 12))
    (insurable bool)
    (reference-usd8 uint)
    (active bool)
  )
  (begin
    (try! (check-governance))
    (write-asset asset insurable reference-usd8 active)
  )
)

;; Adds, reweighs or removes a provider.
(define-public (set-provider (provider principal) (weight uint))
  (begin
    (try! (check-governance))
    (write-provider provider weight)
  )
)

;; Copies a submission behind those that do not cost more, and puts the new one before the first that does.
(define-private (insert-step
    (item {provider: principal, price-usd8: uint, weight: uint})
    (acc {
      new: {provider: principal, price-usd8: uint, weight: uint},
      placed: bool,
      out: (list 10 {provider: principal, price-usd8: uint, weight: uint}),
    })
  )
  (if (or (get placed acc) (<= (get price-usd8 item) (get price-usd8 (get new acc))))
    (merge acc {out: (append-submission (get out acc) item)})
    (merge acc {
      placed: true,
      out: (append-submission (append-submission (get out acc) (get new acc)) item),
    })
  )
)

;; Appends to a list of submissions; a full list stays as it is, which the number of providers rules out.
(define-private (append-submission
    (items (list 10 {provider: principal, price-usd8: uint, weight: uint}))
    (item {provider: principal, price-usd8: uint, weight: uint})
  )
  (default-to items (as-max-len? (append items item) u10))
)

;; Whether a provider is among the submissions seen so far.
(define-private (submitted-step
    (item {provider: principal, price-usd8: uint, weight: uint})
    (acc {provider: principal, found: bool})
  )
  (merge acc {found: (or (get found acc) (is-eq (get provider item) (get provider acc)))})
)

;; Submits a provider's price to the asset's current round; the first submission opens the round.
(define-public (submit-price
    (asset (string-ascii 12))
    (round uint)
    (price-usd8 uint)
    (observed-burn uint)
  )
  (let (
      (row (try! (active-asset asset)))
      (weight (get-provider-weight contract-caller))
      (key {asset: asset, round: round})
      (items (get-submissions asset round))
      (new {provider: contract-caller, price-usd8: price-usd8, weight: weight})
      (before (default-to
        {
          state: "open",
          opened-burn: observed-burn,
          closed-burn: u0,
          price-usd8: u0,
          count: u0,
          weight: u0,
          mode: "open",
          prev-round: u0,
          prev-opened-burn: u0,
        }
        (map-get? rounds key)
      ))
      (after (merge before {
        count: (+ (get count before) u1),
        weight: (+ (get weight before) weight),
      }))
      (opened-burn (get opened-burn before))
      (max-age (try! (contract-call? .bh-params get-param "price-max-age")))
      (timeout (try! (contract-call? .bh-params get-param "round-timeout")))
    )
    (asserts! (> weight u0) ERR-NOT-PROVIDER)
    (asserts! (contract-call? .bh-params is-open "oracle") ERR-ORACLE-CLOSED)
    (asserts! (is-eq round (get next-round row)) ERR-WRONG-ROUND)
    (asserts! (and (> price-usd8 u0) (<= price-usd8 MAX-PRICE)) ERR-BAD-PRICE)
    (asserts! (<= observed-burn burn-block-height) ERR-OBSERVED-FUTURE)
    (asserts!
      (and
        (<= burn-block-height (+ observed-burn max-age))
        (>= observed-burn opened-burn)
        (>= observed-burn (get opened-burn row))
      )
      ERR-OBSERVED-STALE
    )
    (asserts! (<= burn-block-height (+ opened-burn timeout)) ERR-ROUND-TIMED-OUT)
    (asserts!
      (not (get found (fold submitted-step items {provider: contract-caller, found: false})))
      ERR-SUBMITTED
    )
    (asserts! (< (len items) MAX-PROVIDERS) ERR-TOO-MANY-PROVIDERS)
    (map-set rounds key after)
    (map-set submissions key
      (let ((walk (fold insert-step items {new: new, placed: false, out: (list)})))
        (if (get placed walk) (get out walk) (append-submission (get out walk) new))
      )
    )
    (print (merge (envelope "price.submitted") {
      asset: asset,
      round: round,
      provider: contract-caller,
      price-usd8: price-usd8,
      weight: weight,
      observed-burn: observed-burn,
      opened-burn: opened-burn,
      count-after: (get count after),
      weight-after: (get weight after),
    }))
    (ok true)
  )
)

;; Finds the first price at which half of the weight is reached.
(define-private (median-step
    (item {provider: principal, price-usd8: uint, weight: uint})
    (acc {total: uint, sum: uint, price-usd8: uint})
  )
  (let ((sum (+ (get sum acc) (get weight item))))
    (merge acc {
      sum: sum,
      price-usd8: (if (and (is-eq (get price-usd8 acc) u0) (>= (* u2 sum) (get total acc)))
        (get price-usd8 item)
        (get price-usd8 acc)
      ),
    })
  )
)

;; Widens the spread by one submission's distance from the price.
(define-private (spread-step
    (item {provider: principal, price-usd8: uint, weight: uint})
    (acc {price-usd8: uint, spread-bp: uint})
  )
  (let ((distance (distance-bp (get price-usd8 item) (get price-usd8 acc))))
    (merge acc {spread-bp: (if (> distance (get spread-bp acc)) distance (get spread-bp acc))})
  )
)

;; The variance per Bitcoin block after a move from one closed round's price to the next's, gap blocks later.
(define-private (next-variance (variance uint) (before uint) (after uint) (gap uint))
  (let (
      (lambda (try! (contract-call? .bh-params get-param "vol-lambda-bp")))
      (r (/ (* (if (> after before) (- after before) (- before after)) E6) before))
    )
    (ok (/ (+ (* lambda variance) (* (- BP lambda) (/ (* r r) gap))) BP))
  )
)

;; The price that a new round is compared with: the last closed one, or the asset's reference price before the first.
(define-private (price-before (last-round uint) (price-usd8 uint) (reference-usd8 uint))
  (if (is-eq last-round u0) reference-usd8 price-usd8)
)

;; Writes a round as closed at a price and makes it the asset's last, and prints it.
(define-private (write-closed
    (asset (string-ascii 12))
    (round uint)
    (price-usd8 uint)
    (opened {opened-burn: uint, count: uint, weight: uint})
    (mode (string-ascii 12))
  )
  (let (
      (row (unwrap! (map-get? assets asset) ERR-UNKNOWN-ASSET))
      (last-round (get last-round row))
      (before (price-before last-round (get price-usd8 row) (get reference-usd8 row)))
      (opened-burn (get opened-burn opened))
      (elapsed (- opened-burn (get opened-burn row)))
      (variance (if (is-eq last-round u0)
        u0
        (try! (next-variance (get var-e12 row) before price-usd8 (if (> elapsed u0) elapsed u1)))
      ))
    )
    (map-set rounds {asset: asset, round: round}
      (merge opened {
        state: "closed",
        closed-burn: burn-block-height,
        price-usd8: price-usd8,
        mode: mode,
        prev-round: last-round,
        prev-opened-burn: (get opened-burn row),
      })
    )
    (map-set assets asset
      (merge row {
        next-round: (+ round u1),
        last-round: round,
        price-usd8: price-usd8,
        opened-burn: opened-burn,
        var-e12: variance,
        candidate-usd8: none,
      })
    )
    (print (merge (merge (envelope "round.closed") opened) {
      asset: asset,
      round: round,
      price-usd8: price-usd8,
      price-before: before,
      deviation-bp: (distance-bp price-usd8 before),
      spread-bp: (get spread-bp
        (fold spread-step (get-submissions asset round) {price-usd8: price-usd8, spread-bp: u0})
      ),
      var-e12-before: (get var-e12 row),
      var-e12: variance,
      closed-burn: burn-block-height,
      mode: mode,
      prev-round: last-round,
      prev-opened-burn: (get opened-burn row),
    }))
    (ok true)
  )
)

;; Writes a round as rejected, with the price that the next round may confirm, and prints it.
(define-private (write-rejected
    (asset (string-ascii 12))
    (round uint)
    (price-usd8 uint)
    (reason (string-ascii 12))
    (candidate-usd8 (optional uint))
  )
  (let (
      (row (unwrap! (map-get? assets asset) ERR-UNKNOWN-ASSET))
      (open (unwrap! (map-get? rounds {asset: asset, round: round}) ERR-WRONG-ROUND))
      (before (price-before (get last-round row) (get price-usd8 row) (get reference-usd8 row)))
    )
    (map-set rounds {asset: asset, round: round}
      (merge open {
        state: "rejected",
        closed-burn: burn-block-height,
        price-usd8: price-usd8,
        mode: reason,
      })
    )
    (map-set assets asset (merge row {next-round: (+ round u1), candidate-usd8: candidate-usd8}))
    (print (merge (envelope "round.rejected") {
      asset: asset,
      round: round,
      reason: reason,
      price-usd8: price-usd8,
      price-before: before,
      count: (get count open),
      weight: (get weight open),
      deviation-bp: (if (> price-usd8 u0) (distance-bp price-usd8 before) u0),
      opened-burn: (get opened-burn open),
      closed-burn: burn-block-height,
      candidate-usd8: candidate-usd8,
    }))
    (ok false)
  )
)

;; Ends the open round: closed at its median, or rejected for its deviation or for lack of a quorum in time.
(define-public (close-round (asset (string-ascii 12)) (round uint))
  (let (
      (row (try! (active-asset asset)))
      (open (unwrap! (map-get? rounds {asset: asset, round: round}) ERR-WRONG-ROUND))
      (timeout (try! (contract-call? .bh-params get-param "round-timeout")))
      (min-providers (try! (contract-call? .bh-params get-param "oracle-min-providers")))
      (quorum-bp (try! (contract-call? .bh-params get-param "oracle-quorum-bp")))
      (max-deviation (try! (contract-call? .bh-params get-param "oracle-max-deviation-bp")))
      (weight (get weight open))
      (before (price-before (get last-round row) (get price-usd8 row) (get reference-usd8 row)))
    )
    (asserts! (contract-call? .bh-params is-open "oracle") ERR-ORACLE-CLOSED)
    (asserts! (is-eq round (get next-round row)) ERR-WRONG-ROUND)
    (if (and
        (>= (get count open) min-providers)
        (>= (* weight BP) (* quorum-bp (var-get total-weight)))
      )
      (let (
          (price (get price-usd8
            (fold median-step (get-submissions asset round) {total: weight, sum: u0, price-usd8: u0})
          ))
          (opened {opened-burn: (get opened-burn open), count: (get count open), weight: weight})
        )
        (if (<= (distance-bp price before) max-deviation)
          (write-closed asset round price opened "normal")
          (if (match (get candidate-usd8 row)
              candidate (<= (distance-bp price candidate) max-deviation)
              false
            )
            (write-closed asset round price opened "confirmed")
            (write-rejected asset round price "deviation" (some price))
          )
        )
      )
      (begin
        (asserts! (> burn-block-height (+ (get opened-burn open) timeout)) ERR-NO-QUORUM)
        (write-rejected asset round u0 "no-quorum" (get candidate-usd8 row))
      )
    )
  )
)

;; Fixes the price of an expiry height to the first closed round opened at or after it. Gives the price.
(define-public (fix-expiry-price (asset (string-ascii 12)) (expiry-burn uint) (round uint))
  (let (
      (row (unwrap! (map-get? rounds {asset: asset, round: round}) ERR-NOT-EXPIRY-ROUND))
      (price (get price-usd8 row))
    )
    (asserts! (>= burn-block-height expiry-burn) ERR-EXPIRY-AHEAD)
    (asserts!
      (and
        (is-eq (get state row) "closed")
        (>= (get opened-burn row) expiry-burn)
        (< (get prev-opened-burn row) expiry-burn)
      )
      ERR-NOT-EXPIRY-ROUND
    )
    (asserts!
      (map-insert expiry-prices
        {asset: asset, expiry-burn: expiry-burn}
        {round: round, price-usd8: price}
      )
      ERR-EXPIRY-FIXED
    )
    (print (merge (envelope "expiry-price.fixed") {
      asset: asset,
      expiry-burn: expiry-burn,
      round: round,
      price-usd8: price,
    }))
    (ok price)
  )
)

;; Announces a price for an asset whose providers are silent; it can be used when the delay is over.
(define-public (set-fallback (asset (string-ascii 12)) (price-usd8 uint) (reason (string-ascii 64)))
  (let (
      (row (try! (active-asset asset)))
      (delay (try! (contract-call? .bh-params get-param "fallback-delay")))
      (from-burn (+ burn-block-height delay))
    )
    (asserts! (contract-call? .bh-registry has-role "guardian" contract-caller) ERR-ORACLE-NOT-GUARDIAN)
    (asserts! (contract-call? .bh-params is-tripped "oracle") ERR-BREAKER-NOT-TRIPPED)
    (asserts! (and (> price-usd8 u0) (<= price-usd8 MAX-PRICE)) ERR-BAD-PRICE)
    (map-set fallbacks asset {price-usd8: price-usd8, from-burn: from-burn})
    (print (merge (envelope "fallback.set") {
      asset: asset,
      price-usd8: price-usd8,
      reason: reason,
      from-burn: from-burn,
    }))
    (ok true)
  )
)

;; Takes an announced price back.
(define-public (cancel-fallback (asset (string-ascii 12)))
  (let ((fallback (unwrap! (map-get? fallbacks asset) ERR-NO-FALLBACK)))
    (asserts!
      (or
        (contract-call? .bh-registry has-role "governance" contract-caller)
        (contract-call? .bh-registry has-role "guardian" contract-caller)
      )
      ERR-ORACLE-NOT-GOVERNANCE
    )
    (map-delete fallbacks asset)
    (print (merge (envelope "fallback.cancelled") {asset: asset, price-usd8: (get price-usd8 fallback)}))
    (ok true)
  )
)

;; Closes a round at the announced price, rejecting the open round if there is one. Gives the round.
(define-public (apply-fallback (asset (string-ascii 12)))
  (let (
      (row (try! (active-asset asset)))
      (fallback (unwrap! (map-get? fallbacks asset) ERR-NO-FALLBACK))
      (current (get next-round row))
      (is-round-open (is-some (map-get? rounds {asset: asset, round: current})))
      (round (if is-round-open (+ current u1) current))
    )
    (asserts! (contract-call? .bh-params is-tripped "oracle") ERR-BREAKER-NOT-TRIPPED)
    (asserts! (>= burn-block-height (get from-burn fallback)) ERR-FALLBACK-DELAY)
    (and is-round-open (try! (write-rejected asset current u0 "fallback" (get candidate-usd8 row))))
    (map-delete fallbacks asset)
    (try! (write-closed asset round (get price-usd8 fallback)
      {opened-burn: burn-block-height, count: u0, weight: u0}
      "fallback"
    ))
    (ok round)
  )
)
