;; SIP-010 face of native STX, so that every collateral token is reached in the same way.
;; It holds nothing: transfer moves the sender's own STX, and wallets see a native STX transfer.

;; Moves amt uSTX from sender to recipient. The chain itself demands that sender is tx-sender.
(define-public (transfer (amt uint) (sender principal) (to principal) (memo (optional (buff 34))))
  (match memo
    note (stx-transfer-memo? amt sender to note)
    (stx-transfer? amt sender to)
  )
)

;; Unlocked uSTX that a principal owns.
(define-read-only (get-balance (who principal))
  (ok (stx-get-balance who))
)

;; uSTX in existence and not locked.
(define-read-only (get-total-supply)
  (ok stx-liquid-supply)
)

;; Name shown by wallets.
(define-read-only (get-name)
  (ok "Stacks")
)

;; Ticker shown by wallets.
(define-read-only (get-symbol)
  (ok "STX")
)

;; Decimal places of a uSTX amount.
(define-read-only (get-decimals)
  (ok u6)
)

;; No metadata document.
(define-read-only (get-token-uri)
  (ok none)
)
