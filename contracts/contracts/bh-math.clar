;; Premium, payoff, collateral and health arithmetic. No state; unsigned integers only.
;; Units: usd8 = USD x 10^8, bp = 1/10000, sat = BTC / 10^8, burn = Bitcoin blocks. docs/contracts.md lists every rounding.

(define-constant BP u10000)
(define-constant E8 u100000000)
(define-constant E12 u1000000000000)
;; Bitcoin blocks in a year of 365 days.
(define-constant BLOCKS-PER-YEAR u52560)

;; The quotient n / d rounded up.
(define-read-only (div-up (n uint) (d uint))
  (/ (+ n (- d u1)) d)
)

;; Points (m, d) of the Bachelier density table: m is the distance to the strike in standard deviations, d the share of
;; the at-the-money time value that is left at that distance, both in bp.
(define-constant DENSITY (list
  {m: u2500, d: u7178}
  {m: u5000, d: u4958}
  {m: u7500, d: u3288}
  {m: u10000, d: u2088}
  {m: u12500, d: u1268}
  {m: u15000, d: u735}
  {m: u20000, d: u213}
  {m: u25000, d: u50}
  {m: u30000, d: u10}
))

;; One step along the table: remembers the point below m and interpolates when m falls before this point.
(define-private (density-step
    (knot {m: uint, d: uint})
    (acc {m: uint, below: {m: uint, d: uint}, found: (optional uint)})
  )
  (let (
      (m (get m acc))
      (m0 (get m (get below acc)))
      (d0 (get d (get below acc)))
    )
    (merge acc {
      below: knot,
      found: (if (and (is-none (get found acc)) (< m (get m knot)))
        (some (- d0 (/ (* (- d0 (get d knot)) (- m m0)) (- (get m knot) m0))))
        (get found acc)
      ),
    })
  )
)

;; Density d(m) in bp, linear between the table's points and constant after the last.
(define-read-only (density-bp (m uint))
  (let ((walk (fold density-step DENSITY {m: m, below: {m: u0, d: BP}, found: none})))
    (default-to (get d (get below walk)) (get found walk))
  )
)

;; Time value in usd8 per BTC of an option on a normally distributed price (Bachelier): 0.4 x S x sigma x sqrt(T) x d(m).
(define-read-only (time-value-usd8 (spot-usd8 uint) (strike-usd8 uint) (vol-bp uint) (duration-burn uint))
  (let (
      (stdev-e8 (sqrti (/ (* vol-bp vol-bp duration-burn E8) BLOCKS-PER-YEAR)))
      (sd (/ (* spot-usd8 stdev-e8) E8))
      (distance (if (> strike-usd8 spot-usd8) (- strike-usd8 spot-usd8) (- spot-usd8 strike-usd8)))
    )
    (if (is-eq sd u0)
      u0
      (div-up (* sd (density-bp (/ (* distance BP) sd)) u4) u100000)
    )
  )
)

;; What one unit of the asset pays at a price, in usd8, before any cap.
(define-read-only (intrinsic-usd8 (type (string-ascii 4)) (strike-usd8 uint) (price-usd8 uint))
  (if (is-eq type "put")
    (if (> strike-usd8 price-usd8) (- strike-usd8 price-usd8) u0)
    (if (> price-usd8 strike-usd8) (- price-usd8 strike-usd8) u0)
  )
)

;; Premium of a policy in usd8.
(define-read-only (premium-usd8 (terms {
    type: (string-ascii 4),
    spot-usd8: uint,
    strike-usd8: uint,
    notional-sat: uint,
    vol-bp: uint,
    duration-burn: uint,
    type-mult-bp: uint,
    tier-mult-bp: uint,
    util-mult-bp: uint,
    floor-bp: uint,
  }))
  (let (
      (spot (get spot-usd8 terms))
      (strike (get strike-usd8 terms))
      (notional (get notional-sat terms))
      (unit (+
        (intrinsic-usd8 (get type terms) strike spot)
        (time-value-usd8 spot strike (get vol-bp terms) (get duration-burn terms))
      ))
      (base (div-up (* unit notional) E8))
      (loaded (div-up
        (* base (get type-mult-bp terms) (get tier-mult-bp terms) (get util-mult-bp terms))
        E12
      ))
      (least (div-up (* spot notional (get floor-bp terms)) E12))
    )
    (if (> loaded least) loaded least)
  )
)

;; The most that a policy can pay, in usd8: the strike's value for a put, a share of it for a call.
(define-read-only (max-payout-usd8 (type (string-ascii 4)) (strike-usd8 uint) (notional-sat uint) (call-cap-bp uint))
  (if (is-eq type "put")
    (/ (* strike-usd8 notional-sat) E8)
    (/ (* strike-usd8 notional-sat call-cap-bp) E12)
  )
)

;; What a policy pays at a price, in usd8.
(define-read-only (payoff-usd8
    (type (string-ascii 4))
    (strike-usd8 uint)
    (price-usd8 uint)
    (notional-sat uint)
    (max-payout uint)
  )
  (let ((payoff (/ (* (intrinsic-usd8 type strike-usd8 price-usd8) notional-sat) E8)))
    (if (> payoff max-payout) max-payout payoff)
  )
)

;; Base units of a token worth at least an amount of usd8.
(define-read-only (tokens-up (usd8 uint) (decimals uint) (price-usd8 uint))
  (div-up (* usd8 (pow u10 decimals)) price-usd8)
)

;; Base units of a token worth at most an amount of usd8.
(define-read-only (tokens-down (usd8 uint) (decimals uint) (price-usd8 uint))
  (/ (* usd8 (pow u10 decimals)) price-usd8)
)

;; Value of base units of a token in usd8, rounded down.
(define-read-only (value-usd8 (amt uint) (decimals uint) (price-usd8 uint))
  (/ (* amt price-usd8) (pow u10 decimals))
)

;; Base units that back a liability at a ratio, with a haircut taken off the token's price.
(define-read-only (required-collateral
    (liability-usd8 uint)
    (decimals uint)
    (price-usd8 uint)
    (ratio-bp uint)
    (haircut-bp uint)
  )
  (div-up (* liability-usd8 (pow u10 decimals) ratio-bp) (* price-usd8 (- BP haircut-bp)))
)

;; Collateral value after haircut over liability, in bp; none without liability.
(define-read-only (health-bp
    (amt uint)
    (decimals uint)
    (price-usd8 uint)
    (haircut-bp uint)
    (liability-usd8 uint)
  )
  (if (is-eq liability-usd8 u0)
    none
    (some (/ (* amt price-usd8 (- BP haircut-bp)) (* (pow u10 decimals) liability-usd8)))
  )
)

;; The part of amt that falls on shares [from, to) of total. Consecutive slices add up to amt exactly.
(define-read-only (slice (amt uint) (from uint) (to uint) (total uint))
  (- (/ (* amt to) total) (/ (* amt from) total))
)

;; What a share of a live policy is worth now, in usd8, rounded up and at most the share itself: the liability's part of
;; the notional at intrinsic plus time value.
(define-read-only (take-over-usd8 (terms {
    type: (string-ascii 4),
    spot-usd8: uint,
    strike-usd8: uint,
    notional-sat: uint,
    vol-bp: uint,
    duration-burn: uint,
    max-payout-usd8: uint,
    liability-usd8: uint,
  }))
  (let (
      (spot (get spot-usd8 terms))
      (strike (get strike-usd8 terms))
      (liability (get liability-usd8 terms))
      (unit (+
        (intrinsic-usd8 (get type terms) strike spot)
        (time-value-usd8 spot strike (get vol-bp terms) (get duration-burn terms))
      ))
      (share-sat (div-up (* (get notional-sat terms) liability) (get max-payout-usd8 terms)))
      (value (div-up (* unit share-sat) E8))
    )
    (if (< value liability) value liability)
  )
)
