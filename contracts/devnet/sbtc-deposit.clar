;; Brings sBTC into being on the devnet, with the public function and the events of the contract on the main network.
;; There, sBTC's signers call it after a Bitcoin deposit; here the devnet's faucet does.

(define-constant ERR_NOT_SIGNER (err u303))
(define-constant ERR_ALREADY_COMPLETED (err u301))
(define-constant SIGNER '{{signer}})

(define-public (complete-deposit-wrapper
    (txid (buff 32))
    (vout-index uint)
    (amount uint)
    (recipient principal)
    (burn-hash (buff 32))
    (burn-height uint)
    (sweep-txid (buff 32)))
  (begin
    (asserts! (is-eq tx-sender SIGNER) ERR_NOT_SIGNER)
    (asserts! (is-none (contract-call? .sbtc-registry get-deposit-status txid vout-index)) ERR_ALREADY_COMPLETED)
    (try! (contract-call? .sbtc-token protocol-mint amount recipient 0x01))
    (contract-call? .sbtc-registry complete-deposit txid vout-index amount recipient burn-hash burn-height sweep-txid)))
