;; A filter with the least exports. Puts the number of a text in its connection, a digit, in place of the text's first byte;
;; a text that begins with `?` gets the number of live sessions there instead.
(module
  (import "[export]tidegate:edge/filtering@0.2.0" "[resource-new]session" (func $new (param i32) (result i32)))
  (memory (export "memory") 1)
  ;; Answers stand at 0; a session is a count of four bytes from 4096 on; what the host hands over, from 32768 on.
  (global $next_session (mut i32) (i32.const 4096))
  (global $live (mut i32) (i32.const 0))
  (global $heap (mut i32) (i32.const 32768))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $start i32)
    (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $start) (local.get 3)))
    (local.get $start))

  ;; Forgets what the host handed over, and clears the answer.
  (func $begin
    (global.set $heap (i32.const 32768))
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 64)))

  ;; Texts of the client, whole; nothing of the upstream. Kinds stand at 4 and 16, needs at 8 and 20.
  (func (export "tidegate:edge/filtering@0.2.0#configure") (param i32 i32) (result i32)
    (call $begin)
    (i32.store8 offset=4 (i32.const 0) (i32.const 1))
    (i32.store8 offset=8 (i32.const 0) (i32.const 4))
    (i32.const 0))

  (func (export "tidegate:edge/filtering@0.2.0#[static]session.open") (param i32) (result i32)
    (call $begin)
    (global.set $live (i32.add (global.get $live) (i32.const 1)))
    (i32.store offset=4 (i32.const 0) (call $new (global.get $next_session)))
    (global.set $next_session (i32.add (global.get $next_session) (i32.const 4)))
    (i32.const 0))

  (func (export "tidegate:edge/filtering@0.2.0#[method]session.on-message")
    (param $session i32) (param $origin i32) (param $case i32) (param $text i32) (param $length i32) (param i32 i32)
    (result i32)
    (call $begin)
    (i32.store (local.get $session) (i32.add (i32.load (local.get $session)) (i32.const 1)))
    (i32.store8 (local.get $text)
      (i32.add (i32.const 48)
        (if (result i32) (i32.eq (i32.load8_u (local.get $text)) (i32.const 63))
          (then (global.get $live))
          (else (i32.load (local.get $session))))))
    ;; replace(text)
    (i32.store8 (i32.const 0) (i32.const 2))
    (i32.store offset=8 (i32.const 0) (local.get $text))
    (i32.store offset=12 (i32.const 0) (local.get $length))
    (i32.const 0))

  (func (export "tidegate:edge/filtering@0.2.0#[dtor]session") (param i32)
    (global.set $live (i32.sub (global.get $live) (i32.const 1)))))
