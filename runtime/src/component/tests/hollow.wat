;; A predicate that looks for files and a network as the second byte of the path says.
(module
  (import "wasi:filesystem/preopens@0.2.3" "get-directories" (func $directories (param i32)))
  (import "wasi:filesystem/types@0.2.3" "[method]descriptor.read-via-stream" (func (param i32 i64 i32)))
  (import "wasi:sockets/instance-network@0.2.3" "instance-network" (func $network (result i32)))
  (import "wasi:http/types@0.2.3" "http-error-code" (func (param i32 i32)))
  (memory (export "memory") 1)

  (global $heap (mut i32) (i32.const 1024))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $start i32)
    (local.set $start (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $start) (local.get 3)))
    (local.get $start))

  (func (export "tidegate:edge/predicates@0.2.0#configure") (param i32 i32) (result i32)
    (i32.store8 (i32.const 0) (i32.const 0))
    (i32.const 0))

  (func (export "tidegate:edge/predicates@0.2.0#matches") (param $handshake i32) (result i32)
    (if (i32.eq (i32.load8_u offset=1 (i32.load offset=24 (local.get $handshake))) (i32.const 110)) ;; n: network
      (then (drop (call $network))))
    (i32.store (i32.const 20) (i32.const 7))
    (call $directories (i32.const 16))
    (i32.eqz (i32.load (i32.const 20)))))
