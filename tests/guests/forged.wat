;; A filter whose answers lie about where they are and how long: the first byte of a message, or the second byte of the
;; path, says how. No compiler makes such a thing; whoever wants to harm the host does.
(module
  (import "[export]tidegate:edge/filtering@0.2.0" "[resource-new]session" (func $session_new (param i32) (result i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (global $misplace (mut i32) (i32.const 0))

  ;; 0: answers; 256: a forged message to send
  (data (i32.const 512) "\ff\fe\fd")

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $start i32)
    (if (i32.eq (global.get $misplace) (i32.const 122)) (then (return (i32.const 0xfffffff0)))) ;; z
    (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $start) (local.get 3)))
    (local.get $start))

  ;; Everything whole, both ways.
  (func (export "tidegate:edge/filtering@0.2.0#configure") (param i32 i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.store8 (i32.const 4) (i32.const 3))
    (i32.store8 (i32.const 8) (i32.const 4))
    (i32.store8 (i32.const 16) (i32.const 3))
    (i32.store8 (i32.const 20) (i32.const 4))
    (i32.const 0))

  (func (export "tidegate:edge/filtering@0.2.0#[static]session.open") (param $handshake i32) (result i32)
    (local $how i32)
    (if (i32.gt_u (i32.load offset=28 (local.get $handshake)) (i32.const 1))
      (then (local.set $how (i32.load8_u offset=1 (i32.load offset=24 (local.get $handshake))))))
    (global.set $heap (i32.const 65536))
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 64))
    (if (i32.eq (local.get $how) (i32.const 115)) ;; s: a session that does not exist
      (then (i32.store (i32.const 4) (i32.const 99999)) (return (i32.const 0))))
    (i32.store (i32.const 4) (call $session_new (i32.const 1)))
    (if (i32.eq (local.get $how) (i32.const 104)) ;; h: more edits of headers than there is memory
      (then (i32.store (i32.const 12) (i32.const 0x0fffffff))))
    (if (i32.eq (local.get $how) (i32.const 111)) ;; o: an answer outside of the memory
      (then (return (i32.const 0x7ffffff0))))
    (i32.const 0))

  (func $verdict (param $kind i32) (param $first i32) (param $second i32) (param $third i32) (result i32)
    (i32.store (i32.const 0) (local.get $kind))
    (i32.store (i32.const 4) (local.get $first))
    (i32.store (i32.const 8) (local.get $second))
    (i32.store (i32.const 12) (local.get $third))
    (i32.const 0))

  (func (export "tidegate:edge/filtering@0.2.0#[method]session.on-message")
    (param $session i32) (param $origin i32) (param $case i32) (param $payload i32) (param $length i32) (param i32 i32)
    (result i32)
    (local $how i32)
    (global.set $heap (i32.const 65536))
    (if (local.get $length) (then (local.set $how (i32.load8_u (local.get $payload)))))
    (if (i32.eq (local.get $how) (i32.const 112)) ;; p: replace, by what lies outside of the memory
      (then (return (call $verdict (i32.const 2) (i32.const 0) (i32.const 0x7fffff00) (i32.const 16)))))
    (if (i32.eq (local.get $how) (i32.const 108)) ;; l: replace, by 4 GiB
      (then (return (call $verdict (i32.const 2) (i32.const 0) (i32.const 0) (i32.const -1)))))
    (if (i32.eq (local.get $how) (i32.const 104)) ;; h: send more messages than there is memory
      (then (return (call $verdict (i32.const 4) (i32.const 0) (i32.const 0x0fffffff) (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 119)) ;; w: send so many that 16 bytes for each make 16 in 32 bits
      (then (return (call $verdict (i32.const 4) (i32.const 0) (i32.const 0x10000001) (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 110)) ;; n: send one whose payload lies outside of the memory
      (then
        (i32.store (i32.const 256) (i32.const 1))
        (i32.store (i32.const 260) (i32.const 1))
        (i32.store (i32.const 264) (i32.const 0x7fffff00))
        (i32.store (i32.const 268) (i32.const 16))
        (return (call $verdict (i32.const 4) (i32.const 256) (i32.const 1) (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 107)) ;; k: send to a side that does not exist
      (then
        (i64.store (i32.const 256) (i64.const 7))
        (i64.store (i32.const 264) (i64.const 0))
        (return (call $verdict (i32.const 4) (i32.const 256) (i32.const 1) (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 117)) ;; u: close with a reason that is not UTF-8
      (then (return (call $verdict (i32.const 5) (i32.const 1000) (i32.const 512) (i32.const 3)))))
    (if (i32.eq (local.get $how) (i32.const 100)) ;; d: a verdict that does not exist
      (then (return (call $verdict (i32.const 9) (i32.const 0) (i32.const 0) (i32.const 0)))))
    (if (i32.eq (local.get $how) (i32.const 114)) ;; r: an answer outside of the memory
      (then (return (i32.const 0x7ffffff0))))
    (if (i32.eq (local.get $how) (i32.const 97)) ;; a: an answer at an odd place
      (then (return (i32.const 1))))
    (if (i32.eq (local.get $how) (i32.const 122)) ;; z: from now on, what comes in is to be put outside of the memory
      (then (global.set $misplace (local.get $how))))
    (call $verdict (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))

  ;; Has nothing to say.
  (func (export "tidegate:edge/batching@0.2.0#on-messages")
    (param $session i32) (param i32 i32 i32 i32 i32) (result i32)
    (global.set $heap (i32.const 65536))
    (i64.store (i32.const 0) (i64.const 0))
    (i32.const 0))

  (func (export "tidegate:edge/closing@0.2.0#on-close")
    (param $session i32) (param i32 i32 i32 i32 i32 i32)
    (global.set $heap (i32.const 65536)))

  (func (export "tidegate:edge/swapping@0.2.0#save") (param i32) (result i32)
    (i64.store (i32.const 0) (i64.const 0))
    (i32.const 0))

  (func (export "tidegate:edge/swapping@0.2.0#resume") (param i32) (result i32) (unreachable))

  (func (export "tidegate:edge/streaming@0.2.0#on-part") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (unreachable))

  (func (export "tidegate:edge/timing@0.2.0#on-timer") (param i32) (param i64) (result i32) (unreachable))

  (func (export "tidegate:edge/filtering@0.2.0#[dtor]session") (param i32)))
