// Gives the exports of a module the names of the canonical ABI, which AssemblyScript cannot write: node name.mjs MODULE
import { readFileSync, writeFileSync } from "node:fs";
import binaryen from "binaryen";

const file = process.argv[2];
const filtering = "tidegate:edge/filtering@0.2.0";
const swapping = "tidegate:edge/swapping@0.2.0";
const names = {
  configure: `${filtering}#configure`,
  open: `${filtering}#[static]session.open`,
  onMessage: `${filtering}#[method]session.on-message`,
  dtor: `${filtering}#[dtor]session`,
  save: `${swapping}#save`,
  resume: `${swapping}#resume`,
};
const module = binaryen.readBinary(readFileSync(file));
const exported = new Map();
for (let index = 0; index < module.getNumExports(); index += 1) {
  const { name, value } = binaryen.getExportInfo(module.getExportByIndex(index));
  exported.set(name, value);
}
for (const [name, full] of Object.entries(names)) {
  module.addFunctionExport(exported.get(name), full);
  if (name !== "dtor") module.addFunctionExport(exported.get("post"), `cabi_post_${full}`);
}
for (const name of exported.keys()) {
  if (name !== "memory" && name !== "cabi_realloc") module.removeExport(name);
}
writeFileSync(file, module.emitBinary());
