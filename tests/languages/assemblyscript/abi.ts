// The canonical ABI of world `shout`, by hand: AssemblyScript has no bindings. name.mjs gives these functions their names.
@external("[export]tidegate:edge/filtering@0.2.0", "[resource-new]session")
declare function resourceNew(session: usize): u32;
@external("tidegate:edge/log@0.2.0", "write")
declare function write(level: u32, text: usize, length: usize): void;

/** One connection. */
export abstract class Session {
  /** What goes on in place of a text. */
  abstract onText(text: string): string;
  abstract save(): string;
}

/** Makes sessions. */
export abstract class Filter {
  abstract open(): Session;
  abstract resume(state: string): Session;
}

let filter: Filter | null = null;
export function install(it: Filter): void {
  filter = it;
}

// What the host hands over and what it is answered, kept until it has read the answer.
let kept = new Array<ArrayBuffer>();

export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  const buffer = new ArrayBuffer(<i32>(size + 8));
  kept.push(buffer);
  const at = (changetype<usize>(buffer) + 7) & ~(<usize>7);
  if (oldSize) memory.copy(at, old, min(oldSize, size));
  return at;
}

export function post(_answer: usize): void {
  kept = new Array<ArrayBuffer>();
}

function answer(size: usize): usize {
  const at = cabi_realloc(0, 0, 8, size);
  memory.fill(at, 0, size);
  return at;
}

/** A string's address and length. */
function put(at: usize, value: string): void {
  const bytes = String.UTF8.encode(value);
  kept.push(bytes);
  store<usize>(at, changetype<usize>(bytes));
  store<u32>(at, bytes.byteLength, 4);
}

function handle(session: Session): u32 {
  return resourceNew(__pin(changetype<usize>(session)));
}

// result<interest, string>: from-client wants texts (1), whole (4); from-upstream nothing.
export function configure(_config: usize, _length: usize): usize {
  const at = answer(28);
  store<u8>(at, 1, 4);
  store<u8>(at, 4, 8);
  return at;
}

// result<admission, refusal>; the session is the admission's first field.
export function open(_handshake: usize): usize {
  const at = answer(40);
  store<u32>(at, handle(filter!.open()), 4);
  return at;
}

// verdict: replace (2) by a text (0).
export function onMessage(self: usize, _origin: u32, _case: u32, text: usize, length: usize, _2: usize, _3: usize): usize {
  const said = changetype<Session>(self).onText(String.UTF8.decodeUnsafe(text, length));
  const at = answer(16);
  store<u8>(at, 2);
  put(at + 8, said);
  return at;
}

export function save(self: usize): usize {
  const at = answer(8);
  put(at, changetype<Session>(self).save());
  return at;
}

// The state stands behind a handshake of 104 bytes. result<session, string>
export function resume(given: usize): usize {
  const state = String.UTF8.decodeUnsafe(load<usize>(given, 104), load<u32>(given, 108));
  const at = answer(12);
  store<u32>(at, handle(filter!.resume(state)), 4);
  return at;
}

export function dtor(self: usize): void {
  __unpin(self);
}

/** What is thrown goes to the log as an error. */
export function thrown(message: string | null, file: string | null, line: u32, _column: u32): void {
  const bytes = String.UTF8.encode(`${message ? message : "abort"} (${file ? file : "?"}:${line})`);
  write(0, changetype<usize>(bytes), bytes.byteLength);
  unreachable();
}
