;; A filter that misbehaves on request: the first byte of a message, the second byte of the path or the first byte of
;; the configuration says how.
(module
  (import "tidegate:edge/log@0.2.0" "write" (func $log (param i32 i32 i32)))
  (import "[export]tidegate:edge/filtering@0.2.0" "[resource-new]session" (func $session_new (param i32) (result i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (global $sessions (mut i32) (i32.const 0))
  (global $dropped (mut i32) (i32.const 0))

  ;; 0: answers; 256: verdicts of a batch; 16384: message counts by session; 32768: replies that repeat themselves
  (data (i32.const 128) "out of luck")
  (data (i32.const 144) "bye")
  (data (i32.const 152) "panicked: out of luck")
  (data (i32.const 176) "host")
  (data (i32.const 184) "\ff\fe")
  (data (i32.const 192) "x-user")

  (func $reset (global.set $heap (i32.const 65536)))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $start i32) (local $missing i32)
    (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $start) (local.get 3)))
    (local.set $missing (i32.sub (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then (drop (memory.grow (i32.add (i32.div_u (local.get $missing) (i32.const 65536)) (i32.const 1))))))
    (local.get $start))

  (func $spin (loop $again (br $again)))

  ;; Everything whole, both ways.
  (func $interest (param $payload i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.store8 (i32.const 4) (i32.const 3))
    (i32.store8 (i32.const 8) (local.get $payload))
    (i32.store (i32.const 12) (i32.const 4))
    (i32.store8 (i32.const 16) (i32.const 3))
    (i32.store8 (i32.const 20) (local.get $payload))
    (i32.store (i32.const 24) (i32.const 4)))

  (func (export "tidegate:edge/filtering@0.2.0#configure") (param $config i32) (param $length i32) (result i32)
    (local $how i32)
    (local.set $how (i32.load8_u (local.get $config)))
    (call $interest (i32.const 4))
    (if (i32.eq (local.get $how) (i32.const 104)) (then (call $interest (i32.const 1)))) ;; h: head(4)
    (if (i32.eq (local.get $how) (i32.const 116)) (then (unreachable))) ;; t
    (if (i32.eq (local.get $how) (i32.const 108)) (then (call $spin))) ;; l
    (if (i32.eq (local.get $how) (i32.const 101)) ;; e: error
      (then
        (i32.store8 (i32.const 0) (i32.const 1))
        (i32.store (i32.const 4) (i32.const 128))
        (i32.store (i32.const 8) (i32.const 11))))
    (call $reset)
    (i32.const 0))

  (func (export "tidegate:edge/filtering@0.2.0#[static]session.open") (param $handshake i32) (result i32)
    (local $how i32)
    (if (i32.gt_u (i32.load offset=28 (local.get $handshake)) (i32.const 1))
      (then (local.set $how (i32.load8_u offset=1 (i32.load offset=24 (local.get $handshake))))))
    (call $reset)
    (if (i32.eq (local.get $how) (i32.const 116)) (then (unreachable))) ;; t
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 64))
    (if (i32.or (i32.eq (local.get $how) (i32.const 114)) (i32.eq (local.get $how) (i32.const 82))) ;; r, R: refuse
      (then
        (i32.store8 (i32.const 0) (i32.const 1))
        (i32.store16 (i32.const 4)
          (select (i32.const 403) (i32.const 200) (i32.eq (local.get $how) (i32.const 114))))
        (i32.store (i32.const 16) (i32.const 144))
        (i32.store (i32.const 20) (i32.const 3))
        (return (i32.const 0))))
    (i32.store (i32.const 4) (call $session_new (global.get $sessions)))
    (i32.store (i32.add (i32.const 16384) (i32.mul (global.get $sessions) (i32.const 4))) (i32.const 0))
    (global.set $sessions (i32.add (global.get $sessions) (i32.const 1)))
    (if (i32.or (i32.eq (local.get $how) (i32.const 104)) (i32.eq (local.get $how) (i32.const 117))) ;; h, u: edit
      (then
        (i32.store (i32.const 8) (i32.const 64))
        (i32.store (i32.const 12) (i32.const 1))
        (i32.store8 (i32.const 64) (i32.const 0)) ;; set
        (if (i32.eq (local.get $how) (i32.const 104))
          (then (i32.store (i32.const 68) (i32.const 176)) (i32.store (i32.const 72) (i32.const 4)))
          (else (i32.store (i32.const 68) (i32.const 192)) (i32.store (i32.const 72) (i32.const 6))))
        (i32.store (i32.const 76) (i32.const 144))
        (i32.store (i32.const 80) (i32.const 3))
        (i32.store8 (i32.const 32) (i32.const 1)) ;; a lease of a minute
        (i32.store (i32.const 36) (i32.const 60))))
    (i32.const 0))

  ;; A text in place of the message.
  (func $replace (param $at i32) (param $payload i32) (param $length i32) (result i32)
    (i32.store offset=12 (local.get $at) (local.get $length))
    (call $verdict (local.get $at) (i32.const 2) (i32.const 0) (local.get $payload)))

  (func $verdict (param $at i32) (param $case i32) (param $first i32) (param $second i32) (result i32)
    (i32.store8 (local.get $at) (local.get $case))
    (i32.store offset=4 (local.get $at) (local.get $first))
    (i32.store offset=8 (local.get $at) (local.get $second))
    (local.get $at))

  (func $decide (param $at i32) (param $session i32) (param $payload i32) (param $length i32) (result i32)
    (local $how i32) (local $count i32)
    (local.set $count (i32.add (i32.const 16384) (i32.mul (local.get $session) (i32.const 4))))
    (i32.store (local.get $count) (i32.add (i32.load (local.get $count)) (i32.const 1)))
    (if (i32.eqz (local.get $length)) (then (return (call $verdict (local.get $at) (i32.const 0) (i32.const 0) (i32.const 0)))))
    (local.set $how (i32.load8_u (local.get $payload)))
    (if (i32.eq (local.get $how) (i32.const 116)) (then (unreachable))) ;; t
    (if (i32.eq (local.get $how) (i32.const 108)) (then (call $spin))) ;; l
    (if (i32.eq (local.get $how) (i32.const 109)) (then (drop (memory.grow (i32.const 40000))))) ;; m
    (if (i32.eq (local.get $how) (i32.const 112)) ;; p: panic
      (then (call $log (i32.const 0) (i32.const 152) (i32.const 21)) (unreachable)))
    (if (i32.eq (local.get $how) (i32.const 110)) ;; n: delay by the number of messages
      (then (return (call $verdict (local.get $at) (i32.const 1) (i32.load (local.get $count)) (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 113)) ;; q: delay by the number of sessions dropped
      (then (return (call $verdict (local.get $at) (i32.const 1) (global.get $dropped) (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 114)) ;; r: replace by itself
      (then (return (call $replace (local.get $at) (local.get $payload) (local.get $length)))))
    (if (i32.eq (local.get $how) (i32.const 82)) ;; R: replace by what is not UTF-8
      (then (return (call $replace (local.get $at) (i32.const 184) (i32.const 2)))))
    (if (i32.eq (local.get $how) (i32.const 100)) ;; d: drop
      (then (return (call $verdict (local.get $at) (i32.const 3) (i32.const 0) (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 115)) ;; s: send itself back
      (then
        (call $outgoing (i32.const 32768) (local.get $payload) (local.get $length))
        (return (call $verdict (local.get $at) (i32.const 4) (i32.const 32768) (i32.const 1)))))
    (if (i32.eq (local.get $how) (i32.const 111)) ;; o: send 64 KiB, 1000 times over
      (then
        (local.set $count (i32.const 0))
        (loop $more
          (call $outgoing (i32.add (i32.const 32768) (i32.mul (local.get $count) (i32.const 16))) (i32.const 65536) (i32.const 65536))
          (local.set $count (i32.add (local.get $count) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $count) (i32.const 1000))))
        (return (call $verdict (local.get $at) (i32.const 4) (i32.const 32768) (i32.const 1000)))))
    (if (i32.or (i32.eq (local.get $how) (i32.const 99)) (i32.eq (local.get $how) (i32.const 67))) ;; c, C: close
      (then
        (i32.store offset=12 (local.get $at) (i32.const 3))
        (return (call $verdict (local.get $at) (i32.const 5)
          (select (i32.const 4000) (i32.const 1005) (i32.eq (local.get $how) (i32.const 99))) (i32.const 144)))))
    (if (i32.eq (local.get $how) (i32.const 118)) ;; v: no such verdict
      (then (return (call $verdict (local.get $at) (i32.const 9) (i32.const 0) (i32.const 0)))))
    (call $verdict (local.get $at) (i32.const 0) (i32.const 0) (i32.const 0)))

  ;; To the client, binary.
  (func $outgoing (param $at i32) (param $payload i32) (param $length i32)
    (i32.store (local.get $at) (i32.const 0))
    (i32.store offset=4 (local.get $at) (i32.const 1))
    (i32.store offset=8 (local.get $at) (local.get $payload))
    (i32.store offset=12 (local.get $at) (local.get $length)))

  (func (export "tidegate:edge/filtering@0.2.0#[method]session.on-message")
    (param $session i32) (param $origin i32) (param $case i32)
    (param $first i32) (param $second i32) (param $payload i32) (param $length i32)
    (result i32)
    (call $reset)
    (if (i32.ne (local.get $case) (i32.const 2)) ;; whole
      (then (local.set $payload (local.get $first)) (local.set $length (local.get $second))))
    (call $decide (i32.const 0) (local.get $session) (local.get $payload) (local.get $length)))

  (func (export "tidegate:edge/batching@0.2.0#on-messages")
    (param $session i32) (param $origin i32) (param $arrivals i32) (param $count i32) (param $bytes i32) (param i32)
    (result i32)
    (local $place i32) (local $length i32) (local $decision i32)
    (call $reset)
    (local.set $decision (i32.const 256))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $place) (local.get $count)))
        (local.set $length
          (i32.load offset=8 (i32.add (local.get $arrivals) (i32.mul (local.get $place) (i32.const 12)))))
        (i32.store (local.get $decision) (local.get $place))
        (if (i32.load8_u (call $decide
              (i32.add (local.get $decision) (i32.const 4))
              (local.get $session) (local.get $bytes) (local.get $length)))
          (then (local.set $decision (i32.add (local.get $decision) (i32.const 20)))))
        (if (local.get $length)
          (then
            (if (i32.eq (i32.load8_u (local.get $bytes)) (i32.const 98)) ;; b: about a message that is not there
              (then
                (i32.store (local.get $decision) (local.get $count))
                (i32.store8 offset=4 (local.get $decision) (i32.const 3))
                (local.set $decision (i32.add (local.get $decision) (i32.const 20)))))
            (if (i32.eq (i32.load8_u (local.get $bytes)) (i32.const 66)) ;; B: twice about the same
              (then
                (i32.store (local.get $decision) (local.get $place))
                (i32.store8 offset=4 (local.get $decision) (i32.const 3))
                (i32.store offset=20 (local.get $decision) (local.get $place))
                (i32.store8 offset=24 (local.get $decision) (i32.const 3))
                (local.set $decision (i32.add (local.get $decision) (i32.const 40)))))))
        (local.set $bytes (i32.add (local.get $bytes) (local.get $length)))
        (local.set $place (i32.add (local.get $place) (i32.const 1)))
        (br $next)))
    (i32.store (i32.const 0) (i32.const 256))
    (i32.store (i32.const 4) (i32.div_u (i32.sub (local.get $decision) (i32.const 256)) (i32.const 20)))
    (i32.const 0))

  (func (export "tidegate:edge/closing@0.2.0#on-close")
    (param $session i32) (param i32 i32 i32 i32 i32 i32)
    (call $reset))

  (func (export "tidegate:edge/swapping@0.2.0#save") (param i32) (result i32)
    (i64.store (i32.const 0) (i64.const 0))
    (i32.const 0))

  (func (export "tidegate:edge/swapping@0.2.0#resume") (param i32) (result i32) (unreachable))

  (func (export "tidegate:edge/streaming@0.2.0#on-part") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (unreachable))

  (func (export "tidegate:edge/timing@0.2.0#on-timer") (param i32) (param i64) (result i32) (unreachable))

  (func (export "tidegate:edge/filtering@0.2.0#[dtor]session") (param i32)
    (global.set $dropped (i32.add (global.get $dropped) (i32.const 1)))))
