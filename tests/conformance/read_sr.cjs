// Prints what dcmjs reads of a report: [[tracking identifier, [concept, scheme], value, [unit, scheme]], ...] as JSON.
// Arguments: the folder that dcmjs is installed in, the file.
const fs = require("fs");
const path = require("path");

const [folder, file] = process.argv.slice(2);
const { DicomMessage, DicomMetaDictionary } = require(path.join(path.resolve(folder), "node_modules", "dcmjs")).data;

const bytes = fs.readFileSync(file);
// It refuses a Specific Character Set of several values unless it is told to go on.
const message = DicomMessage.readFile(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength), {
  ignoreErrors: true,
});
const report = DicomMetaDictionary.naturalizeDataset(message.dict);

const all = (sequence) => (sequence === undefined ? [] : Array.isArray(sequence) ? sequence : [sequence]);
const one = (sequence) => all(sequence)[0];
const code = (item) => [item.CodeValue, item.CodingSchemeDesignator];
const isNamed = (item, value) => item.ConceptNameCodeSequence && one(item.ConceptNameCodeSequence).CodeValue === value;

const found = [];
function read(item) {
  const children = all(item.ContentSequence);
  const tracked = children.find((child) => isNamed(child, "112039"));
  for (const child of children) {
    const measured = child.ValueType === "NUM" && one(child.MeasuredValueSequence);
    if (measured) {
      found.push([
        tracked ? tracked.TextValue : null,
        code(one(child.ConceptNameCodeSequence)),
        Number(measured.NumericValue),
        code(one(measured.MeasurementUnitsCodeSequence)),
      ]);
    }
    read(child);
  }
}
read(report);
console.log(JSON.stringify(found));
