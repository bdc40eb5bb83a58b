;; A filter that asks for things. The second byte of the path says what it does when a session is opened again, which it
;; knows by an attribute that the handshake has by then; the first byte of a message says what it does with it.
(module
  (import "tidegate:edge/log@0.2.0" "write" (func $log (param i32 i32 i32)))
  (import "tidegate:edge/timer@0.2.0" "after" (func $after (param i32 i64)))
  (import "tidegate:edge/connection@0.2.0" "set-attribute" (func $attribute (param i32 i32 i32 i32)))
  (import "[export]tidegate:edge/filtering@0.2.0" "[resource-new]session" (func $session_new (param i32) (result i32)))
  (memory (export "memory") 8)
  (global $heap (mut i32) (i32.const 65536))
  (global $dropped (mut i32) (i32.const 0))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $start i32)
    (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $start) (local.get 3)))
    (local.get $start))

  (func (export "tidegate:edge/filtering@0.2.0#configure") (param i32 i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.store8 (i32.const 4) (i32.const 3))
    (i32.store8 (i32.const 8) (i32.const 4))
    (i32.store8 (i32.const 16) (i32.const 3))
    (i32.store8 (i32.const 20) (i32.const 4))
    (i32.const 0))

  (func $timers (param $count i32)
    (loop $more
      (call $after (i32.const 1000) (i64.extend_i32_u (local.get $count)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br_if $more (local.get $count))))

  (func (export "tidegate:edge/filtering@0.2.0#[static]session.open") (param $handshake i32) (result i32)
    (local $how i32)
    (if (i32.gt_u (i32.load offset=28 (local.get $handshake)) (i32.const 1))
      (then (local.set $how (i32.load8_u offset=1 (i32.load offset=24 (local.get $handshake))))))
    (global.set $heap (i32.const 65536))
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 64))
    (if (i32.load offset=100 (local.get $handshake))
      (then
        (if (i32.eq (local.get $how) (i32.const 116)) (then (unreachable))) ;; t
        (if (i32.eq (local.get $how) (i32.const 103)) (then (call $timers (i32.const 20)))))) ;; g: greedy
    (call $timers (i32.const 1))
    (i32.store (i32.const 4) (call $session_new (i32.const 0)))
    (i32.const 0))

  (func (export "tidegate:edge/filtering@0.2.0#[method]session.on-message")
    (param $session i32) (param $origin i32) (param $case i32) (param $payload i32) (param $length i32) (param i32 i32)
    (result i32)
    (local $how i32) (local $count i32)
    (global.set $heap (i32.const 65536))
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 64))
    (local.set $how (i32.load8_u (local.get $payload)))
    (if (i32.eq (local.get $how) (i32.const 116)) (then (unreachable))) ;; t
    (if (i32.eq (local.get $how) (i32.const 97)) ;; a: an attribute named by the next byte, whose value is the rest
      (then
        (call $attribute
          (i32.add (local.get $payload) (i32.const 1)) (i32.const 1)
          (i32.add (local.get $payload) (i32.const 2)) (i32.sub (local.get $length) (i32.const 2)))))
    (if (i32.eq (local.get $how) (i32.const 108)) ;; l: log 256 KiB of what is no text but at its beginning
      (then
        (memory.fill (i32.const 131072) (i32.const 255) (i32.const 262144))
        (memory.fill (i32.const 131072) (i32.const 120) (i32.const 8192))
        (call $log (i32.const 0) (i32.const 131072) (i32.const 262144))
        (unreachable)))
    (if (i32.or (i32.eq (local.get $how) (i32.const 101)) (i32.eq (local.get $how) (i32.const 115))) ;; e, s: empty ones
      (then
        (local.set $count (select (i32.const 5000) (i32.const 40) (i32.eq (local.get $how) (i32.const 101))))
        (memory.fill (i32.const 131072) (i32.const 0) (i32.const 80000))
        (i32.store8 (i32.const 0) (i32.const 4))
        (i32.store (i32.const 4) (i32.const 131072))
        (i32.store (i32.const 8) (local.get $count))))
    (if (i32.eq (local.get $how) (i32.const 114)) ;; r: replace by itself
      (then
        (i32.store8 (i32.const 0) (i32.const 2))
        (i32.store (i32.const 8) (local.get $payload))
        (i32.store (i32.const 12) (local.get $length))))
    (if (i32.eq (local.get $how) (i32.const 113)) ;; q: delay by the number of sessions dropped
      (then
        (i32.store8 (i32.const 0) (i32.const 1))
        (i32.store (i32.const 4) (global.get $dropped))))
    (i32.const 0))

  (func (export "tidegate:edge/swapping@0.2.0#save") (param i32) (result i32)
    (i64.store (i32.const 0) (i64.const 0))
    (i32.const 0))

  (func (export "tidegate:edge/swapping@0.2.0#resume") (param i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (call $session_new (i32.const 0)))
    (i32.const 0))

  ;; Sends 5000 empty messages.
  (func (export "tidegate:edge/timing@0.2.0#on-timer") (param i32) (param $token i64) (result i32)
    (memory.fill (i32.const 131072) (i32.const 0) (i32.const 80000))
    (i32.store8 (i32.const 0) (i32.const 1))
    (i32.store (i32.const 4) (i32.const 131072))
    (i32.store (i32.const 8) (i32.const 5000))
    (i32.const 0))

  (func (export "tidegate:edge/filtering@0.2.0#[dtor]session") (param i32)
    (global.set $dropped (i32.add (global.get $dropped) (i32.const 1)))))
