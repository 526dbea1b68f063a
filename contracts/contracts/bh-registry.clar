;; Which contract is which module of BitHedge, and who holds which role.
;; Modules recognise each other, and everybody's roles, through this contract and contract-caller alone.

;; Bootstrap by somebody else.
(define-constant ERR-NOT-DEPLOYER (err u1001))
;; Second bootstrap.
(define-constant ERR-REGISTRY-BOOTSTRAPPED (err u1002))
;; Caller lacks the governance role.
(define-constant ERR-REGISTRY-NOT-GOVERNANCE (err u1003))
;; Governance or candidacy set by grant-role or revoke-role.
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

;; The contract's code is not the code that was announced.
(define-constant ERR-CODE-HASH (err u1012))
;; Expiring a role that has not ended.
(define-constant ERR-ROLE-NOT-ENDED (err u1013))
;; The version already has a migration, or its migration is not over.
(define-constant ERR-MIGRATION-OPEN (err u1014))
;; No such migration, or it is over.
(define-constant ERR-MIGRATION-NOT-FOUND (err u1015))
;; A migration's step by another contract than the one it fills.
(define-constant ERR-NOT-MIGRATOR (err u1016))
;; A migration's cursor does not advance.
(define-constant ERR-MIGRATION-CURSOR (err u1017))
;; A migration ended at another hash than it has.
(define-constant ERR-MIGRATION-HASH (err u1018))
;; Handover to a principal that has not stood for governance.
(define-constant ERR-NOT-CANDIDATE (err u1019))

;; Who may call bootstrap, once. It has no other power.
(define-constant DEPLOYER tx-sender)
;; Bitcoin blocks from registering a module to activating it: twice the longest withdrawal delay, so that providers can
;; leave before new code may use their capital.
(define-constant MODULE-DELAY u2016)
;; Bitcoin blocks from then on, in which it may be active, until the version before it may pass its money on to it.
(define-constant SUCCESSION-DELAY u144)
;; The role that sets everything and is passed on by handover alone.
(define-constant GOVERNANCE "governance")
;; The role of whoever can take governance over. Each takes it for itself, so that governance never goes to a principal
;; that nobody can call from, or to a contract that is not ready.
(define-constant CANDIDATE "candidate")

;; Number of the last migration.
(define-data-var last-migration uint u0)
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

;; Copies of a module's rows into its next version. The cursor says how far the copy is, in the copying contract's own
;; terms; the hash chains what every step copied, so that anybody can recompute it.
(define-map migrations
  uint
  {
    module: (string-ascii 16),
    from-version: (optional uint),
    version: uint,
    cursor: uint,
    hash: (buff 32),
    done: bool,
  }
)
;; The migration that fills a module's version.
(define-map version-migrations {module: (string-ascii 16), version: uint} uint)

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

;; The row of a migration.
(define-read-only (get-migration (migration uint))
  (map-get? migrations migration)
)

;; The migration that fills a module's version.
(define-read-only (get-version-migration (module (string-ascii 16)) (version uint))
  (map-get? version-migrations {module: module, version: version})
)

;; Whether a version's migration has begun and is not over.
(define-private (is-migrating (module (string-ascii 16)) (version uint))
  (match (map-get? version-migrations {module: module, version: version})
    migration (not (default-to true (get done (map-get? migrations migration))))
    false
  )
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

;; The contract to which a replaced version of a module may pass its own money on: the active version, SUCCESSION-DELAY
;; blocks after it could be activated at the earliest. None before, and for the active version itself.
(define-read-only (get-successor (module (string-ascii 16)) (who principal))
  (let (
      (state (state-of module who))
      (row (unwrap! (get-module module (unwrap! (map-get? active-versions module) none)) none))
    )
    (if (and
        (or (is-eq state (some "draining")) (is-eq state (some "deprecated")))
        (>= burn-block-height (+ (get active-from-burn row) SUCCESSION-DELAY))
      )
      (some (get contract row))
      none
    )
  )
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
    (try! (genesis-module "policy" .bh-policy))
    (try! (genesis-module "fund" .bh-fund))
    (try! (genesis-module "liquidation" .bh-liquidation))
    (try! (genesis-module "incentives" .bh-incentives))
    (genesis-module "gov" .bh-gov)
  )
)

;; Says that the caller can take governance over. It gives nothing before a handover; bh-gov does it in its bootstrap.
(define-public (stand-for-governance)
  (ok (write-role CANDIDATE contract-caller none))
)

;; Passes governance to a principal that has stood for it; the caller keeps nothing.
(define-public (handover (to principal))
  (begin
    (try! (check-governance))
    (asserts! (has-role CANDIDATE to) ERR-NOT-CANDIDATE)
    (delete-role GOVERNANCE contract-caller)
    (ok (write-role GOVERNANCE to none))
  )
)

;; Fails for the roles that governance neither grants nor revokes.
(define-private (check-grantable (role (string-ascii 16)))
  (ok (asserts! (not (or (is-eq role GOVERNANCE) (is-eq role CANDIDATE))) ERR-GOVERNANCE-BY-HANDOVER))
)

;; Grants a role other than governance and candidate, until a burn height or until revoked.
(define-public (grant-role (role (string-ascii 16)) (who principal) (until-burn (optional uint)))
  (begin
    (try! (check-governance))
    (try! (check-grantable role))
    (asserts! (match until-burn until (> until burn-block-height) true) ERR-ROLE-ENDED)
    (ok (write-role role who until-burn))
  )
)

;; Takes a role other than governance and candidate away.
(define-public (revoke-role (role (string-ascii 16)) (who principal))
  (begin
    (try! (check-governance))
    (try! (check-grantable role))
    (asserts! (is-some (map-get? roles {role: role, who: who})) ERR-ROLE-NOT-FOUND)
    (ok (delete-role role who))
  )
)

;; Removes a role that ended at its height. Anybody may: such a role gives nothing any more.
(define-public (expire-role (role (string-ascii 16)) (who principal))
  (let ((row (unwrap! (map-get? roles {role: role, who: who}) ERR-ROLE-NOT-FOUND)))
    (asserts! (not (has-role role who)) ERR-ROLE-NOT-ENDED)
    (map-delete roles {role: role, who: who})
    (print (merge (envelope "role.expired") {role: role, who: who, until-burn: (get until-burn row)}))
    (ok true)
  )
)

;; Announces a new version of a module by its contract and the hash of the code that was reviewed; it can be activated
;; MODULE-DELAY blocks later.
(define-public (register-module
    (module (string-ascii 16))
    (version uint)
    (contract principal)
    (code-hash (buff 32))
  )
  (begin
    (try! (check-governance))
    (asserts! (is-eq (unwrap! (contract-hash? contract) ERR-NO-CONTRACT) code-hash) ERR-CODE-HASH)
    (write-module module version contract (+ burn-block-height MODULE-DELAY))
  )
)

;; Makes an announced version of a module the active one, once what it takes over is copied.
(define-public (activate-module (module (string-ascii 16)) (version uint))
  (let ((row (unwrap! (map-get? modules {module: module, version: version}) ERR-MODULE-NOT-FOUND)))
    (try! (check-governance))
    (asserts! (is-eq (get state row) "registered") ERR-MODULE-STATE)
    (asserts! (>= burn-block-height (get active-from-burn row)) ERR-MODULE-DELAY)
    (asserts! (not (is-migrating module version)) ERR-MIGRATION-OPEN)
    (asserts! (is-eq (unwrap! (contract-hash? (get contract row)) ERR-NO-CONTRACT) (get code-hash row)) ERR-CODE-HASH)
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
    (asserts! (not (is-migrating module version)) ERR-MIGRATION-OPEN)
    (write-state module version "deprecated")
    (print (merge (envelope "module.deprecated") {
      module: module,
      version: version,
      contract: (get contract row),
    }))
    (ok true)
  )
)

;; Begins the copy of the active version's rows into an announced one, which is not activated before the copy is over.
(define-public (begin-migration (module (string-ascii 16)) (version uint))
  (let (
      (module-row (unwrap! (map-get? modules {module: module, version: version}) ERR-MODULE-NOT-FOUND))
      (migration (+ (var-get last-migration) u1))
      (row {
        module: module,
        from-version: (map-get? active-versions module),
        version: version,
        cursor: u0,
        hash: 0x0000000000000000000000000000000000000000000000000000000000000000,
        done: false,
      })
    )
    (try! (check-governance))
    (asserts! (is-eq (get state module-row) "registered") ERR-MODULE-STATE)
    (asserts! (map-insert version-migrations {module: module, version: version} migration) ERR-MIGRATION-OPEN)
    (map-set migrations migration row)
    (var-set last-migration migration)
    (print (merge (merge (envelope "migration.begun") row) {migration: migration}))
    (ok migration)
  )
)

;; Records that the copying contract got as far as the cursor. Items is the hash of what this step copied; the
;; migration's hash becomes sha256 of its hash before and items.
(define-public (step-migration (migration uint) (cursor uint) (items (buff 32)))
  (let (
      (row (unwrap! (map-get? migrations migration) ERR-MIGRATION-NOT-FOUND))
      (target {module: (get module row), version: (get version row)})
      (contract (get contract (unwrap! (map-get? modules target) ERR-MODULE-NOT-FOUND)))
      (stepped (merge row {cursor: cursor, hash: (sha256 (concat (get hash row) items))}))
    )
    (asserts! (is-eq contract-caller contract) ERR-NOT-MIGRATOR)
    (asserts! (not (get done row)) ERR-MIGRATION-NOT-FOUND)
    (asserts! (> cursor (get cursor row)) ERR-MIGRATION-CURSOR)
    (map-set migrations migration stepped)
    (print (merge (merge (envelope "migration.stepped") stepped) {migration: migration}))
    (ok true)
  )
)

;; Ends a migration at the hash that governance found right; nothing can be copied after it.
(define-public (finish-migration (migration uint) (hash (buff 32)))
  (let (
      (row (unwrap! (map-get? migrations migration) ERR-MIGRATION-NOT-FOUND))
      (finished (merge row {done: true}))
    )
    (try! (check-governance))
    (asserts! (not (get done row)) ERR-MIGRATION-NOT-FOUND)
    (asserts! (is-eq hash (get hash row)) ERR-MIGRATION-HASH)
    (map-set migrations migration finished)
    (print (merge (merge (envelope "migration.finished") finished) {migration: migration}))
    (ok true)
  )
)
