;; The interface that bh-vault needs from a collateral token: a subset of SIP-010.

(define-trait token
  (
    ;; Moves amt base units from sender to recipient.
    (transfer (uint principal principal (optional (buff 34))) (response bool uint))
    ;; Base units that a principal owns.
    (get-balance (principal) (response uint uint))
  )
)
