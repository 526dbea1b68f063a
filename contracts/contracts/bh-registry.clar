;; Which contract is which module of BitHedge, and who holds which role.
;; Modules recognise each other, and everybody's roles, through this contract and contract-caller alone.

;; Bootstrap by somebody else.
(define-constant ERR-NOT-DEPLOYER (err u1001))
;; Second bootstrap.
(define-constant ERR-REGISTRY-BOOTSTRAPPED (err u1002))
;; Caller lacks the governance role.
(define-constant ERR-REGISTRY-NOT-GOVERNANCE (err u1003))
;; Governance granted or revoked other than by handover.
(define-constant ERR-GOVERNANCE-BY-HANDOVER (err u1004))
;; Revoking a role that nobody granted.
(define-constant ERR-ROLE-NOT-FOUND (err u1005))
;; Until-burn is not in the future.
(define-constant ERR-ROLE-ENDED (err u1006))
;; The module's contract is not deployed.
(define-constant ERR-NO-CONTRACT (err u1007))
;; Module version already registered.
(define-constant ERR-VERSION-TAKEN (err u1008))
;; Unknown module version.
(define-constant ERR-MODULE-NOT-FOUND (err u1009))
;; Module is not in the state that the step needs.
(define-constant ERR-MODULE-STATE (err u1010))
;; Activation before the delay is over.
(define-constant ERR-MODULE-DELAY (err u1011))

;; Who may call bootstrap, once. It has no other power.
(define-constant DEPLOYER tx-sender)
;; Bitcoin blocks from registering a module to activating it: twice the longest withdrawal delay, so that providers can
;; leave before new code may use their capital.
(define-constant MODULE-DELAY u2016)
(define-constant GOVERNANCE "governance")

;; Whether bootstrap has run.
(define-data-var bootstrapped bool false)
;; Number of the last event.
(define-data-var seq uint u0)

;; Granted roles, with the last burn height at which each holds; none means until revoked.
(define-map roles
  {role: (string-ascii 16), who: principal}
  {until-burn: (optional uint)}
)
;; Every registered version of every module.
(define-map modules
  {module: (string-ascii 16), version: uint}
  {contract: principal, code-hash: (buff 32), state: (string-ascii 10), active-from-burn: uint}
)
;; The version of a contract's registration, by module name and contract.
(define-map versions
  {module: (string-ascii 16), contract: principal}
  uint
)
;; The version of each module that is active.
(define-map active-versions (string-ascii 16) uint)

;; Fields common to all events; counts the event.
(define-private (envelope (topic (string-ascii 40)))
  (let ((number (+ (var-get seq) u1)))
    (var-set seq number)
    {topic: topic, v: u1, seq: number, actor: tx-sender, caller: contract-caller}
  )
)

;; Whether a principal holds a role at this burn height.
(define-read-only (has-role (role (string-ascii 16)) (who principal))
  (match (map-get? roles {role: role, who: who})
    row (match (get until-burn row) until (<= burn-block-height until) true)
    false
  )
)

;; The row of a granted role.
(define-read-only (get-role (role (string-ascii 16)) (who principal))
  (map-get? roles {role: role, who: who})
)

;; The row of a module's version.
(define-read-only (get-module (module (string-ascii 16)) (version uint))
  (map-get? modules {module: module, version: version})
)

;; The active version of a module.
(define-read-only (get-active-version (module (string-ascii 16)))
  (map-get? active-versions module)
)

;; The state of a contract as a version of a module.
(define-private (state-of (module (string-ascii 16)) (who principal))
  (match (map-get? versions {module: module, contract: who})
    version (get state (map-get? modules {module: module, version: version}))
    none
  )
)

;; Whether a contract is the active version of a module.
(define-read-only (is-active (module (string-ascii 16)) (who principal))
  (is-eq (state-of module who) (some "active"))
)

;; Number of the last event.
(define-read-only (get-seq)
  (var-get seq)
)

;; Fails unless the caller holds the governance role.
(define-private (check-governance)
  (ok (asserts! (has-role GOVERNANCE contract-caller) ERR-REGISTRY-NOT-GOVERNANCE))
)

;; Writes a role and prints it.
(define-private (write-role (role (string-ascii 16)) (who principal) (until-burn (optional uint)))
  (begin
    (map-set roles {role: role, who: who} {until-burn: until-burn})
    (print (merge (envelope "role.granted") {role: role, who: who, until-burn: until-burn}))
    true
  )
)

;; Removes a role and prints it.
(define-private (delete-role (role (string-ascii 16)) (who principal))
  (begin
    (map-delete roles {role: role, who: who})
    (print (merge (envelope "role.revoked") {role: role, who: who}))
    true
  )
)

;; Writes a new version of a module with the hash of its contract's code.
(define-private (write-module
    (module (string-ascii 16))
    (version uint)
    (contract principal)
    (active-from-burn uint)
  )
  (let ((code-hash (unwrap! (contract-hash? contract) ERR-NO-CONTRACT)))
    (asserts!
      (map-insert modules
        {module: module, version: version}
        {contract: contract, code-hash: code-hash, state: "registered", active-from-burn: active-from-burn}
      )
      ERR-VERSION-TAKEN
    )
    (asserts! (map-insert versions {module: module, contract: contract} version) ERR-VERSION-TAKEN)
    (print (merge (envelope "module.registered") {
      module: module,
      version: version,
      contract: contract,
      code-hash: code-hash,
      active-from-burn: active-from-burn,
    }))
    (ok true)
  )
)

;; Writes the state of a module's version.
(define-private (write-state (module (string-ascii 16)) (version uint) (state (string-ascii 10)))
  (match (map-get? modules {module: module, version: version})
    row (map-set modules {module: module, version: version} (merge row {state: state}))
    false
  )
)

;; Makes a registered version the active one; the version before it drains.
(define-private (switch-module (module (string-ascii 16)) (version uint) (contract principal))
  (let ((before (map-get? active-versions module)))
    (match before old (write-state module old "draining") true)
    (write-state module version "active")
    (map-set active-versions module version)
    (print (merge (envelope "module.activated") {
      module: module,
      version: version,
      contract: contract,
      from-version: before,
    }))
    true
  )
)

;; Registers and activates a module of the first deployment.
(define-private (genesis-module (module (string-ascii 16)) (contract principal))
  (begin
    (try! (write-module module u1 contract burn-block-height))
    (ok (switch-module module u1 contract))
  )
)

;; Gives the deployer the governance role, names the guardian, and activates the contracts deployed next to this one.
(define-public (bootstrap (guardian principal))
  (begin
    (asserts! (is-eq contract-caller DEPLOYER) ERR-NOT-DEPLOYER)
    (asserts! (not (var-get bootstrapped)) ERR-REGISTRY-BOOTSTRAPPED)
    (var-set bootstrapped true)
    (write-role GOVERNANCE DEPLOYER none)
    (write-role "guardian" guardian none)
    (try! (genesis-module "params" .bh-params))
    (try! (genesis-module "oracle" .bh-oracle))
    (try! (genesis-module "vault" .bh-vault))
    (try! (genesis-module "treasury" .bh-treasury))
    (genesis-module "policy" .bh-policy)
  )
)

;; Passes governance to another principal; the caller keeps nothing.
(define-public (handover (to principal))
  (begin
    (try! (check-governance))
    (delete-role GOVERNANCE contract-caller)
    (ok (write-role GOVERNANCE to none))
  )
)

;; Grants a role other than governance, until a burn height or until revoked.
(define-public (grant-role (role (string-ascii 16)) (who principal) (until-burn (optional uint)))
  (begin
    (try! (check-governance))
    (asserts! (not (is-eq role GOVERNANCE)) ERR-GOVERNANCE-BY-HANDOVER)
    (asserts! (match until-burn until (> until burn-block-height) true) ERR-ROLE-ENDED)
    (ok (write-role role who until-burn))
  )
)

;; Takes a role other than governance away.
(define-public (revoke-role (role (string-ascii 16)) (who principal))
  (begin
    (try! (check-governance))
    (asserts! (not (is-eq role GOVERNANCE)) ERR-GOVERNANCE-BY-HANDOVER)
    (asserts! (is-some (map-get? roles {role: role, who: who})) ERR-ROLE-NOT-FOUND)
    (ok (delete-role role who))
  )
)

;; Announces a new version of a module; it can be activated MODULE-DELAY blocks later.
(define-public (register-module (module (string-ascii 16)) (version uint) (contract principal))
  (begin
    (try! (check-governance))
    (write-module module version contract (+ burn-block-height MODULE-DELAY))
  )
)

;; Makes an announced version of a module the active one.
(define-public (activate-module (module (string-ascii 16)) (version uint))
  (let ((row (unwrap! (map-get? modules {module: module, version: version}) ERR-MODULE-NOT-FOUND)))
    (try! (check-governance))
    (asserts! (is-eq (get state row) "registered") ERR-MODULE-STATE)
    (asserts! (>= burn-block-height (get active-from-burn row)) ERR-MODULE-DELAY)
    (ok (switch-module module version (get contract row)))
  )
)

;; Ends a version that is announced or draining. The active version cannot be ended, only replaced.
(define-public (deprecate-module (module (string-ascii 16)) (version uint))
  (let (
      (row (unwrap! (map-get? modules {module: module, version: version}) ERR-MODULE-NOT-FOUND))
      (state (get state row))
    )
    (try! (check-governance))
    (asserts! (or (is-eq state "registered") (is-eq state "draining")) ERR-MODULE-STATE)
    (write-state module version "deprecated")
    (print (merge (envelope "module.deprecated") {
      module: module,
      version: version,
      contract: (get contract row),
    }))
    (ok true)
  )
)
