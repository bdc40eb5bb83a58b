;; A predicate that holds for every path but `/`.
(module
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
    (global.set $heap (i32.const 1024))
    (i32.gt_u (i32.load offset=28 (local.get $handshake)) (i32.const 1))))
