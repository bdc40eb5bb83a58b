// A filter in AssemblyScript: answers a text in capitals with its number in the connection.
import { Filter, Session, install } from "./abi";
export * from "./abi";

class Shout extends Session {
  constructor(public count: i32) {
    super();
  }
  onText(text: string): string {
    if (text == "fail") throw new Error("out of luck");
    this.count += 1;
    return `${this.count} ${text.toUpperCase()}`;
  }
  save(): string {
    return this.count.toString();
  }
}

class Shouting extends Filter {
  open(): Session {
    return new Shout(0);
  }
  resume(state: string): Session {
    return new Shout(state.length ? <i32>parseInt(state) : 0);
  }
}

install(new Shouting());
