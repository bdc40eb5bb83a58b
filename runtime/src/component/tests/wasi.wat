;; A predicate that uses WASI as the second byte of the path says.
(module
  (import "wasi:cli/environment@0.2.3" "get-environment" (func $environment (param i32)))
  (import "wasi:cli/exit@0.2.3" "exit" (func $exit (param i32)))
  (import "wasi:cli/stderr@0.2.3" "get-stderr" (func $stderr (result i32)))
  (import "wasi:io/streams@0.2.3" "[method]output-stream.blocking-write-and-flush"
    (func $write (param i32 i32 i32 i32)))
  (import "wasi:io/poll@0.2.3" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:clocks/monotonic-clock@0.2.3" "now" (func $now (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.3" "subscribe-duration" (func $subscribe (param i64) (result i32)))
  (import "wasi:random/random@0.2.3" "get-random-bytes" (func $random (param i64 i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 1024))
  (data (i32.const 64) "oh no\n")

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $start i32)
    (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $start) (local.get 3)))
    (local.get $start))

  (func (export "tidegate:edge/predicates@0.2.0#configure") (param i32 i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.const 0))

  (func (export "tidegate:edge/predicates@0.2.0#matches") (param $handshake i32) (result i32)
    (local $how i32)
    (local.set $how (i32.load8_u offset=1 (i32.load offset=24 (local.get $handshake))))
    (global.set $heap (i32.const 1024))
    (if (i32.eq (local.get $how) (i32.const 112)) ;; p: panic
      (then
        (call $write (call $stderr) (i32.const 64) (i32.const 6) (i32.const 0))
        (unreachable)))
    (if (i32.eq (local.get $how) (i32.const 119)) (then (call $block (call $subscribe (i64.const 1000))))) ;; w: wait
    (if (i32.eq (local.get $how) (i32.const 110)) (then (call $block (call $subscribe (i64.const 0))))) ;; n: now
    (if (i32.eq (local.get $how) (i32.const 120)) (then (call $exit (i32.const 0)))) ;; x: exit
    (if (i32.eq (local.get $how) (i32.const 103)) ;; g: greedy for randomness
      (then (call $random (i64.const 1000000000000) (i32.const 0))))
    (if (i32.eq (local.get $how) (i32.const 109)) ;; m: much at once
      (then (call $write (call $stderr) (i32.const 64) (i32.const 4097) (i32.const 0))))
    ;; otherwise: whether time passes, the environment is empty and random bytes come as asked for
    (call $environment (i32.const 16))
    (call $random (i64.const 32) (i32.const 32))
    (i32.and
      (i32.and (i64.le_u (call $now) (call $now)) (i32.eqz (i32.load (i32.const 20))))
      (i32.eq (i32.load (i32.const 36)) (i32.const 32)))))
