;; Goes through a Bitcoin block in memory, from byte 0 on. It writes, each as 32-bit numbers with the least byte first,
;; where its transactions begin (and, last, where they end) and which input is the first of each; and 36 bytes for each
;; outpoint that is spent. Nothing at or beyond $size is read.
(module
  (memory (export "memory") 1)
  (global $size (mut i64) (i64.const 0))
  (global $at (mut i64) (i64.const 0))
  (global $transactions (export "transactions") (mut i32) (i32.const 0))
  (global $inputs (export "inputs") (mut i32) (i32.const 0))
  (global $witness_bytes (export "witness_bytes") (mut i32) (i32.const 0))

  ;; Go on by so many bytes; whether they are there.
  (func $skip (param $bytes i64) (result i32)
    (if (i64.gt_u (local.get $bytes) (i64.sub (global.get $size) (global.get $at)))
      (then (return (i32.const 0))))
    (global.set $at (i64.add (global.get $at) (local.get $bytes)))
    (i32.const 1))

  ;; The length or count here, and go behind it; -1 where it is cut off or takes more bytes than it needs.
  (func $compact (result i64)
    (local $first i64) (local $value i64) (local $place i32)
    (if (i64.ge_u (global.get $at) (global.get $size)) (then (return (i64.const -1))))
    (local.set $place (i32.wrap_i64 (global.get $at)))
    (local.set $first (i64.load8_u (local.get $place)))
    (global.set $at (i64.add (global.get $at) (i64.const 1)))
    (if (i64.lt_u (local.get $first) (i64.const 253)) (then (return (local.get $first))))
    (if (i64.eq (local.get $first) (i64.const 253))
      (then
        (if (i32.eqz (call $skip (i64.const 2))) (then (return (i64.const -1))))
        (local.set $value (i64.load16_u offset=1 (local.get $place)))
        (return (select (local.get $value) (i64.const -1) (i64.ge_u (local.get $value) (i64.const 253))))))
    (if (i64.eq (local.get $first) (i64.const 254))
      (then
        (if (i32.eqz (call $skip (i64.const 4))) (then (return (i64.const -1))))
        (local.set $value (i64.load32_u offset=1 (local.get $place)))
        (return (select (local.get $value) (i64.const -1) (i64.ge_u (local.get $value) (i64.const 0x10000))))))
    ;; no block is so long that it has a length of more than four bytes
    (i64.const -1))

  ;; Go behind bytes with their length before them; whether they are there.
  (func $skip_sized (result i32)
    (local $length i64)
    (local.set $length (call $compact))
    (if (i64.lt_s (local.get $length) (i64.const 0)) (then (return (i32.const 0))))
    (call $skip (local.get $length)))

  ;; Copy the outpoint here.
  (func $note (param $to i32)
    (local $from i32)
    (local.set $from (i32.wrap_i64 (global.get $at)))
    (i64.store (local.get $to) (i64.load (local.get $from)))
    (i64.store offset=8 (local.get $to) (i64.load offset=8 (local.get $from)))
    (i64.store offset=16 (local.get $to) (i64.load offset=16 (local.get $from)))
    (i64.store offset=24 (local.get $to) (i64.load offset=24 (local.get $from)))
    (i32.store offset=32 (local.get $to) (i32.load offset=32 (local.get $from))))

  ;; Whether the bytes are a block of $length bytes. The results go to the three addresses.
  (func (export "outline")
    (param $length i32) (param $starts i32) (param $firsts i32) (param $outpoints i32) (result i32)
    (local $left i64) (local $inputs i64) (local $count i64) (local $items i64) (local $before i64) (local $segwit i32)
    (global.set $size (i64.extend_i32_u (local.get $length)))
    (global.set $at (i64.const 80))
    (global.set $inputs (i32.const 0))
    (global.set $witness_bytes (i32.const 0))
    (local.set $left (call $compact))
    (if (i64.lt_s (local.get $left) (i64.const 0)) (then (return (i32.const 0))))
    (global.set $transactions (i32.wrap_i64 (local.get $left)))
    (block $done
      (loop $transaction
        (br_if $done (i64.eqz (local.get $left)))
        (local.set $left (i64.sub (local.get $left) (i64.const 1)))
        (i32.store (local.get $starts) (i32.wrap_i64 (global.get $at)))
        (local.set $starts (i32.add (local.get $starts) (i32.const 4)))
        (i32.store (local.get $firsts) (global.get $inputs))
        (local.set $firsts (i32.add (local.get $firsts) (i32.const 4)))
        ;; the version; then no inputs and the flag 1 stand for witnesses that follow the outputs
        (if (i32.eqz (call $skip (i64.const 4))) (then (return (i32.const 0))))
        (local.set $inputs (call $compact))
        (local.set $segwit (i64.eqz (local.get $inputs)))
        (if (local.get $segwit)
          (then
            (if (i64.ne (call $compact) (i64.const 1)) (then (return (i32.const 0))))
            (local.set $inputs (call $compact))))
        (if (i64.lt_s (local.get $inputs) (i64.const 0)) (then (return (i32.const 0))))
        (local.set $count (local.get $inputs))
        (block $no_more_inputs
          (loop $input
            (br_if $no_more_inputs (i64.eqz (local.get $count)))
            (local.set $count (i64.sub (local.get $count) (i64.const 1)))
            (if (i64.lt_u (i64.sub (global.get $size) (global.get $at)) (i64.const 36)) (then (return (i32.const 0))))
            (call $note (local.get $outpoints))
            (local.set $outpoints (i32.add (local.get $outpoints) (i32.const 36)))
            (global.set $inputs (i32.add (global.get $inputs) (i32.const 1)))
            (global.set $at (i64.add (global.get $at) (i64.const 36)))
            (if (i32.eqz (call $skip_sized)) (then (return (i32.const 0))))
            (if (i32.eqz (call $skip (i64.const 4))) (then (return (i32.const 0))))
            (br $input)))
        (local.set $count (call $compact))
        (if (i64.lt_s (local.get $count) (i64.const 0)) (then (return (i32.const 0))))
        (block $no_more_outputs
          (loop $output
            (br_if $no_more_outputs (i64.eqz (local.get $count)))
            (local.set $count (i64.sub (local.get $count) (i64.const 1)))
            (if (i32.eqz (call $skip (i64.const 8))) (then (return (i32.const 0))))
            (if (i32.eqz (call $skip_sized)) (then (return (i32.const 0))))
            (br $output)))
        (if (local.get $segwit)
          (then
            (local.set $before (global.get $at))
            (block $no_more_witnesses
              (loop $witness
                (br_if $no_more_witnesses (i64.eqz (local.get $inputs)))
                (local.set $inputs (i64.sub (local.get $inputs) (i64.const 1)))
                (local.set $items (call $compact))
                (if (i64.lt_s (local.get $items) (i64.const 0)) (then (return (i32.const 0))))
                (block $no_more_items
                  (loop $item
                    (br_if $no_more_items (i64.eqz (local.get $items)))
                    (local.set $items (i64.sub (local.get $items) (i64.const 1)))
                    (if (i32.eqz (call $skip_sized)) (then (return (i32.const 0))))
                    (br $item)))
                (br $witness)))
            ;; the marker and the flag are part of what a witness adds
            (global.set $witness_bytes
              (i32.add (global.get $witness_bytes)
                (i32.wrap_i64 (i64.add (i64.const 2) (i64.sub (global.get $at) (local.get $before))))))))
        (if (i32.eqz (call $skip (i64.const 4))) (then (return (i32.const 0))))
        (br $transaction)))
    (i32.store (local.get $starts) (i32.wrap_i64 (global.get $at)))
    (i64.eq (global.get $at) (global.get $size))))
