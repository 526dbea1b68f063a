import { Reader } from "../lib/cbor";
import { require, Span } from "../lib/host";
import { B32 } from "../lib/sha256";
import { HIGHEST_PRICE, LOWEST_PRICE } from "./parameters";

/** The oracle's state. */
export class OracleState {
  /** Units of zkUSD per bitcoin. */
  price: u64 = 0;
  /** Bitcoin block that the operator says the price is of. */
  block: u64 = 0;
  /** Where the operator says it has the price from. */
  source: Span = new Span(0, 0);
  /** Of 100, as the operator says. */
  confidence: u64 = 0;

  constructor(
    readonly operator: B32,
    readonly admin: B32,
    /** Whether the price may be used. */
    readonly isActive: bool,
    readonly lastValidPrice: u64,
  ) {}

  static read(data: Span): OracleState {
    const reader = new Reader(data);
    reader.shape(5);
    reader.key("price");
    reader.shape(4);
    reader.key("price");
    const price = reader.u64();
    reader.key("timestamp_block");
    const block = reader.u64();
    reader.key("source");
    const source = reader.text();
    reader.key("confidence");
    const confidence = reader.u64();
    reader.key("operator");
    const operator = reader.b32();
    reader.key("admin");
    const admin = reader.b32();
    reader.key("is_active");
    const isActive = reader.bool();
    reader.key("last_valid_price");
    const state = new OracleState(operator, admin, isActive, reader.u64());
    reader.finish();
    state.price = price;
    state.block = block;
    state.source = source;
    state.confidence = confidence;
    state.check();
    return state;
  }

  private check(): void {
    require(this.price >= LOWEST_PRICE && this.price <= HIGHEST_PRICE, "the price is out of bounds");
    require(this.confidence <= 100, "the confidence is above 100");
    require(!this.operator.isZero() && !this.admin.isZero(), "the oracle has no operator or no admin");
    const source = this.source;
    require(
      source.is("Aggregated") || source.is("Mock") || source.is("Chainlink") || source.is("DIA") || source.is("Custom"),
      "the price's source is unknown",
    );
  }

  /** Whether both say the same price of the same block. */
  samePrice(other: OracleState): bool {
    return (
      this.price == other.price &&
      this.block == other.block &&
      this.source.equals(other.source) &&
      this.confidence == other.confidence &&
      this.lastValidPrice == other.lastValidPrice
    );
  }

  /** Whether both are of the same people, and as active. */
  sameControl(other: OracleState): bool {
    return this.operator.equals(other.operator) && this.admin.equals(other.admin) && this.isActive == other.isActive;
  }
}
